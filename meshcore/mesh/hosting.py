"""The life of the components of this process: started, announced, asked for their health, and stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from types import TracebackType
from typing import Self

from meshcore.contract.contract import Contract, contract_of
from meshcore.contract.reader import component_contract
from meshcore.core.context.call_scope import failure_of
from meshcore.core.context.threads import awaited
from meshcore.core.description import HostedComponent
from meshcore.core.errors import Code, CommunicationError, ConfigurationError, LocalError
from meshcore.core.instances import ChannelAddress, Instance, url_objection
from meshcore.declare.components import AbstractComponent, Component, ComponentStatus
from meshcore.declare.health import HealthCheckManager, HealthStatus
from meshcore.inject.injector import Injector
from meshcore.mesh.blueprint import Blueprint
from meshcore.ports.registry import ComponentRegistry
from meshcore.server.worker_threads import WorkerThreads

log = logging.getLogger(__name__)

_GRACE = 30.0
"""Seconds for the `shutdown()` of a component, as for the clean-ups of the injector. It must not block the stop."""


class Hosting:
    """Starts all components of this process when it is entered, and stops them in reverse order when it is left.

    Args:
        blueprint: of the mesh.
        identity: of this process.
        injector: has made the components.
        registry: where they are announced.
        workers: the threads of their implementations.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        identity: str,
        injector: Injector,
        registry: ComponentRegistry,
        workers: WorkerThreads,
    ) -> None:
        self._blueprint = blueprint
        self._identity = identity
        self._injector = injector
        self._registry = registry
        self._workers = workers
        self._stack = AsyncExitStack()
        self._running: dict[HostedComponent, Component] = {}
        self._started = int(time.time())

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for hosted in self._blueprint.catalog.hosted:
                await stack.enter_async_context(self._run_component(hosted))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _run_component(self, hosted: HostedComponent) -> AsyncGenerator[None]:
        (recipe,) = self._injector.providers(hosted.component.interface)
        component: Component = await self._injector.instance(recipe)
        if isinstance(component, AbstractComponent):
            component.health_checks = await self._injector.get(HealthCheckManager)
        where = f"startup() of component {hosted.component.name!r}"
        try:
            await awaited(component.startup())
        except Exception as error:
            error.add_note(f"in {where}")
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and not task.cancelling():
                raise RuntimeError(f"{where} waited for something that was cancelled") from error
            raise
        _set_status(component, ComponentStatus.RUNNING)
        self._running[hosted] = component
        try:
            yield
        finally:
            del self._running[hosted]
            try:
                async with asyncio.timeout(_GRACE):
                    await awaited(component.shutdown())
            except BaseException as error:  # the other components have to stop as well
                if failure_of(error) is None:
                    raise
                log.exception("shutdown of component %r failed", hosted.component.name)
            _set_status(component, ComponentStatus.STOPPED)

    @cached_property
    def contract(self) -> Contract:
        """What this process serves."""
        return contract_of(component_contract(hosted.component) for hosted in self._blueprint.catalog.hosted)

    async def health(self, hosted: HostedComponent) -> HealthCheckManager.Health:
        """The health of a component of this process. Not all is well while it has too few threads.

        Raises:
            CommunicationError: UNAVAILABLE, the component is not running.
        """
        component = self._running.get(hosted)
        if component is None:
            raise CommunicationError(Code.UNAVAILABLE, f"component {hosted.component.name!r} is not running")
        found = await component.get_health()
        shortage = self._workers.shortage
        if not shortage:
            return found
        threads = HealthCheckManager.Result("threads", HealthStatus.WARNING, shortage)
        return HealthCheckManager.Health(max(found.status, threads.status), (*found.checks, threads))

    def instances(self, base_url: str, socket: str = "") -> list[Instance]:
        """What this process announces if it is reached under the URL: one instance for each component.

        Args:
            base_url: the URL.
            socket: the unix socket at which it listens as well.

        Raises:
            ConfigurationError: a component names an unknown channel or an invalid URL, or the registry cannot hold it.
        """
        settings = self._blueprint.settings
        digests = {component.name: component.digest for component in self.contract.components}
        found: list[Instance] = []
        problems: list[str] = []
        for hosted, component in self._running.items():
            name = hosted.component.name
            addresses = tuple(component.get_addresses(base_url))
            problems += self._address_problems(hosted, addresses)
            instance = Instance(
                f"{name}-{self._identity}",
                name,
                addresses,
                version=settings.version,
                zone=settings.zone,
                weight=settings.weight,
                health=f"{base_url.rstrip('/')}{hosted.health_path}" if hosted.health_path else "",
                digest=digests[name],
                started=self._started,
                socket=socket,
            )
            if objection := self._registry.objection(instance):
                problems.append(f"component {name!r}: {objection}")
            found.append(instance)
        if problems:
            raise ConfigurationError(f"{self._blueprint.module.__name__} cannot start", problems)
        return found

    def _address_problems(self, hosted: HostedComponent, addresses: Iterable[ChannelAddress]) -> list[str]:
        problems: list[str] = []
        place = f"{hosted.implementation.__qualname__}.get_addresses"
        for address in addresses:
            try:
                self._blueprint.check_channel(address.channel)
            except LocalError as error:
                problems.append(f"{place}: {error.message}")
            if reason := url_objection(address.url):
                subject = f"channel {address.channel!r} of component {hosted.component.name!r}"
                problems.append(f"{place}: {subject}: {reason}")
        return problems


def _set_status(component: Component, status: ComponentStatus) -> None:
    if isinstance(component, AbstractComponent):
        component.status = status
