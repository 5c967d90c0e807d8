"""The ways from a mesh to the components that it calls."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Mapping
from importlib.metadata import EntryPoint
from types import TracebackType
from typing import Any, Self

from meshcore.adapters import load_channel
from meshcore.injector import Injector
from meshcore.interface import ComponentDescription, Method
from meshcore.mismatch import Mismatches
from meshcore.policies import Policies
from meshcore.ports import Channel, ChannelOptions, ComponentRegistry
from meshcore.route import Route
from meshcore.settings import Settings
from meshcore.traffic import Traffic


class Routes:
    """Makes a route to each component that is called, and follows it in the registry until the end of the mesh.

    Args:
        registry: where components are found.
        channels: the classes of all channels that are known, by name, or the entry points that name them.
        injector: makes channels.
        policies: the numbers of calls.
        settings: of the mesh.
        identity: of this process.

    Attributes:
        by_component: those that were made so far, by the component's name.
    """

    def __init__(
        self,
        registry: ComponentRegistry,
        channels: Mapping[str, type[Channel] | EntryPoint],
        injector: Injector,
        policies: Policies,
        settings: Settings,
        identity: str,
    ) -> None:
        self._registry = registry
        self._channels = channels
        self._injector = injector
        self._policies = policies
        self._settings = settings
        self._identity = identity
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []
        self._mismatches: dict[str, Mismatches] = {}
        self.by_component: dict[str, Route] = {}

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            if error is None or group.exceptions != (error,):
                raise
            # None of the group's own: the error goes on as itself.
        finally:
            for route in self.by_component.values():
                await route.aclose()

    def to(self, component: ComponentDescription) -> Route:
        """The route to a component; the first to ask starts following it in the registry."""
        route = self.by_component.get(component.name)
        if route is None:
            rules = self._policies.of_component(component).rules
            traffic = Traffic(component.name, rules, time.monotonic, random.Random())
            known = frozenset(self._channels)
            route = Route(component, self._registry, known, self._make_channel, traffic, self._identity)
            self.by_component[component.name] = route
            mismatches = self._mismatches[component.name] = Mismatches(component, self._settings.max_body)
            self._follow(route.follow(), f"meshcore.route {component.name}")
            self._follow(mismatches.follow(route), f"meshcore.mismatch {component.name}")
        return route

    async def compare_contracts(self, component: ComponentDescription) -> None:
        """Compare what the instances seen so far serve with what is declared here, unless that has been done."""
        route = self.to(component)
        await self._mismatches[component.name].look(route.instances)

    def remarks(self, component: ComponentDescription, method: Method) -> tuple[str, ...]:
        """How what instances serve differs from what is declared here, as far as that was compared."""
        route = self.to(component)
        return self._mismatches[component.name].remarks(route.instances, method)

    def _follow(self, following: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(self._group.create_task(following, name=name))

    async def _make_channel(self, name: str, component: ComponentDescription) -> Channel:
        cls = self._channels[name]
        channel = await self._injector.make(load_channel(cls) if isinstance(cls, EntryPoint) else cls)
        settings = self._settings
        slow_start = self._policies.of_component(component).rules.slow_start
        options = ChannelOptions(
            max_body=settings.max_body, max_depth=settings.max_depth, zone=settings.zone, slow_start=slow_start
        )
        channel.bind(component, options)
        channel.customize()
        return channel
