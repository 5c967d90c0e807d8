"""Registries: where instances are announced and watched. Adapters of the port `meshcore.ports.ComponentRegistry`."""

from registry.consul import ConsulComponentRegistry
from registry.directory import DirectoryComponentRegistry
from registry.local import LocalComponentRegistry
from registry.static import StaticComponentRegistry

__all__ = ["ConsulComponentRegistry", "DirectoryComponentRegistry", "LocalComponentRegistry", "StaticComponentRegistry"]
