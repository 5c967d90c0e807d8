"""All destinations of a mesh."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from meshcore.client.destination import Destination, MakeChannel
from meshcore.client.mismatch import Mismatches
from meshcore.client.policies import Policies
from meshcore.core.description import ComponentDescription, Method
from meshcore.core.settings import Settings
from meshcore.ports.channel import ChannelTLS
from meshcore.ports.registry import ComponentRegistry
from meshcore.traffic.traffic import Traffic


class Destinations:
    """Makes a destination for each component that is called, and follows it in the registry until the mesh stops.

    Args:
        registry: where components are found.
        known: names of the channels that can be used here.
        make: makes a channel to a component.
        policies: the numbers that govern calls.
        settings: of the mesh.
        identity: of this process.
        hint: what to say of a component that nobody offers, besides that.

    Attributes:
        by_component: those that were made so far, by the component's name.
        tls: of this process, None without an identity.
        preferred: the channel to use wherever it is offered and no other is asked for; empty if there is none.
    """

    def __init__(
        self,
        registry: ComponentRegistry,
        known: frozenset[str],
        make: MakeChannel,
        policies: Policies,
        settings: Settings,
        identity: str,
        *,
        hint: Callable[[ComponentDescription], str] = lambda _: "",
    ) -> None:
        self._registry = registry
        self._known = known
        self._make = make
        self._policies = policies
        self._settings = settings
        self._identity = identity
        self._hint = hint
        self.tls: ChannelTLS | None = None
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []
        self._mismatches: dict[str, Mismatches] = {}
        self.by_component: dict[str, Destination] = {}
        self.preferred = settings.preferred_channel

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
            # If no task failed, the group holds only the error of the block. Then that error is raised, not the group.
            if error is None or group.exceptions != (error,):
                raise
        finally:
            for destination in self.by_component.values():
                await destination.aclose()

    def to(self, component: ComponentDescription) -> Destination:
        """The destination of a component. The first request for it starts to follow it in the registry."""
        destination = self.by_component.get(component.name)
        if destination is None:
            rules = self._policies.of_component(component).rules
            traffic = Traffic(component.name, rules, time.monotonic, random.Random())
            destination = Destination(
                component,
                self._registry,
                self._known,
                self._make,
                traffic,
                self._identity,
                preferred=lambda: self.preferred,
            )
            destination.hint = self._hint(component)
            self.by_component[component.name] = destination
            mismatches = Mismatches(component, self._settings.max_body, self.tls)
            self._mismatches[component.name] = mismatches
            self._start(destination.follow(), f"meshcore.client.destination {component.name}")
            self._start(destination.check_doubted(), f"meshcore.client.destination {component.name} checks")
            self._start(mismatches.follow(destination), f"meshcore.client.mismatch {component.name}")
        return destination

    async def compare_contracts(self, component: ComponentDescription) -> None:
        """Compare the contracts of the instances seen so far with the one declared here, as far as not yet done."""
        destination = self.to(component)
        await self._mismatches[component.name].compare(destination.instances)

    def contract_differences(self, component: ComponentDescription, method: Method) -> tuple[str, ...]:
        """How the contracts of the instances differ from the one declared here, as far as they were compared."""
        destination = self.to(component)
        return self._mismatches[component.name].differences(destination.instances, method)

    def _start(self, following: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(self._group.create_task(following, name=name))
