"""Registries: where instances are announced and watched. Adapters of the port `meshcore.ports.ComponentRegistry`.

And a source of values, as Consul is both.
"""

from registry.consul import ConsulComponentRegistry
from registry.consul_values import ConsulValueSource
from registry.directory import DirectoryComponentRegistry
from registry.local import LocalComponentRegistry
from registry.static import StaticComponentRegistry

__all__ = [
    "ConsulComponentRegistry",
    "ConsulValueSource",
    "DirectoryComponentRegistry",
    "LocalComponentRegistry",
    "StaticComponentRegistry",
]
