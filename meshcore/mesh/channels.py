"""Makes the channels of a mesh: with the injector, from the classes of the modules and of installed packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from meshcore.core.description import ComponentDescription
from meshcore.inject.injector import Injector
from meshcore.mesh.blueprint import Blueprint
from meshcore.ports.channel import Channel, ChannelOptions, ChannelTLS
from meshcore.ports.installed import load_channel


class Channels:
    """Makes a channel to a component.

    Args:
        blueprint: of the mesh: its channel classes, policies and settings.
        injector: calls the constructors.
        tls: of this process, None without an identity.
    """

    def __init__(self, blueprint: Blueprint, injector: Injector, tls: ChannelTLS | None) -> None:
        self._blueprint = blueprint
        self._injector = injector
        self._tls = tls

    async def make(self, name: str, component: ComponentDescription) -> Channel:
        """A new channel of that name, ready for calls. Entry points are loaded now, so unused channels never are."""
        cls = self._blueprint.channels[name]
        channel = await self._injector.make(load_channel(cls) if isinstance(cls, EntryPoint) else cls)
        settings = self._blueprint.settings
        slow_start = self._blueprint.policies.of_component(component).rules.slow_start
        options = ChannelOptions(
            max_body=settings.max_body,
            max_depth=settings.max_depth,
            max_items=settings.item_limit,
            zone=settings.zone,
            slow_start=slow_start,
            connections=settings.connections,
            caller=self._blueprint.caller,
            tls=self._tls,
        )
        channel.bind(component, options)
        channel.customize()
        return channel
