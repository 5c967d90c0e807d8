"""Registries: where instances are announced and watched. Adapters of the port `meshcore.ports.ComponentRegistry`.

And a source of values, as Consul is both.
"""

from .consul.registry import ConsulComponentRegistry
from .consul.values import ConsulValueSource
from .directory.registry import DirectoryComponentRegistry
from .local import LocalComponentRegistry
from .static import StaticComponentRegistry

__all__ = [
    "ConsulComponentRegistry",
    "ConsulValueSource",
    "DirectoryComponentRegistry",
    "LocalComponentRegistry",
    "StaticComponentRegistry",
]
