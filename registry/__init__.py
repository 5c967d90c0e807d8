"""Registries, where instances are announced and watched, and value sources. Adapters of two ports of `meshcore`."""

from typing import TYPE_CHECKING

from meshcore.core.lazy import lazy_names

if TYPE_CHECKING:
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

if not TYPE_CHECKING:
    # So one registry is used without loading the others and their libraries.
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "consul.registry": "ConsulComponentRegistry",
            "consul.values": "ConsulValueSource",
            "directory.registry": "DirectoryComponentRegistry",
            "local": "LocalComponentRegistry",
            "static": "StaticComponentRegistry",
        },
    )
