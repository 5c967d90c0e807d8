"""What runs between the start and the stop of a mesh: its parts, built and torn down in one place."""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property, partial
from importlib.metadata import EntryPoint
from types import TracebackType
from typing import Any, Self, cast

import msgspec

from meshcore.asgi.rest_arguments import RequestReader
from meshcore.client.destination import Destination
from meshcore.client.destinations import Destinations
from meshcore.client.policies import Policies
from meshcore.client.stack import Limit
from meshcore.client.why import Explanation, explain, explain_local
from meshcore.codec.codec import Limits
from meshcore.contract.contract import Contract, contract_of
from meshcore.contract.reader import component_contract
from meshcore.core.call import Interceptors, compose
from meshcore.core.description import ComponentDescription, Hosted
from meshcore.core.errors import Code, CommunicationError, ConfigurationError, LocalError
from meshcore.core.instances import Instance, url_objection
from meshcore.core.marks import find_mark
from meshcore.core.settings import Settings
from meshcore.core.suggest import did_you_mean
from meshcore.core.threads import Bridge, Workers
from meshcore.declare.components import AbstractComponent, Component, ComponentStatus
from meshcore.declare.health import HealthCheckManager, HealthChecksMark, health_problems
from meshcore.inject.injector import Injector
from meshcore.inject.modules import recipes_of_module
from meshcore.inject.recipes import Recipe, recipe_of_class, recipe_of_object
from meshcore.mesh.catalog import Catalog
from meshcore.mesh.live_values import LiveValues
from meshcore.mesh.proxies import LOCAL, Proxies
from meshcore.ports.channel import Channel
from meshcore.ports.installed import installed_channels, make_registry, make_value_source
from meshcore.ports.registry import ComponentRegistry
from meshcore.ports.values import ValueSource
from meshcore.server.implementations import Implementations
from meshcore.server.once import Once
from meshcore.server.server import Server
from meshcore.traffic.adaptive_limit import AdaptiveLimit

log = logging.getLogger(__name__)

_GRACE = 30.0
"""Seconds that a component has for its `shutdown()`, as the injector's clean-ups have: it must not hold the process."""


class Runtime:
    """The parts of a running mesh, built and torn down in one place."""

    def __init__(self, module: type, settings: Settings, overrides: Mapping[type, object]) -> None:
        self.settings = settings
        self.identity = secrets.token_hex(8)
        self.health = HealthCheckManager(longest=settings.request_timeout)
        self.registry_url = ""  # of the settings, unless the module brings a registry of its own
        self._module = module
        self._overrides = overrides
        self._stack = AsyncExitStack()
        self._components: list[tuple[Hosted, Component]] = []

    async def __aenter__(self) -> Self:
        """Start; what was started is stopped again if something fails."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, in reverse order of the start."""
        await self._stack.__aexit__(kind, error, traceback)

    async def problems(self) -> list[str]:
        """Everything that would keep this from starting; nothing is started."""
        async with AsyncExitStack() as stack:
            problems = await self._check(stack)
        for hosted in self.catalog.hosted:
            for method in (method for service in hosted.component.services for method in service.methods):
                if method.http is not None:
                    try:
                        RequestReader(method, Limits())
                    except ConfigurationError as error:
                        problems += error.problems
        return list(dict.fromkeys(problems))

    async def _check(self, stack: AsyncExitStack) -> list[str]:
        """Read what is declared and prepare what does not run; all that is wrong with it."""
        settings = self.settings
        self.catalog = Catalog(self._module, self._overrides)
        self._channels: dict[str, type[Channel] | EntryPoint] = {**installed_channels(), **self.catalog.channels}
        self.known = frozenset(self._channels)
        workers = Workers(settings.max_threads)
        stack.callback(workers.close)
        self._implementations = Implementations(workers)
        bridge = Bridge(asyncio.get_running_loop())
        local = {*self.catalog.implementations, *self._overrides}
        self.policies = Policies(settings)
        self.proxies = Proxies(self.catalog, local, bridge, self._destination, self.known, self.policies)
        problems = [*self.catalog.problems, *self.policies.problems(self.catalog.components)]
        # Left after the injector: values change until then.
        values = await stack.enter_async_context(LiveValues(settings, self._value_source(problems)))
        wrong: list[str] = []
        self.injector = self._make_injector(wrong, values)
        if values.asked:  # what was checked are the values, so now that they can be had, once more
            await values.wait()
            wrong = []
            self.injector = self._make_injector(wrong, values)
        problems += wrong
        problems += self.injector.problems()
        # Services are called, and these are looked for by what they are, so nothing has to need them.
        apart = {kind for kind in self._overrides if self.proxies.is_service(kind) or _is_found(kind)}
        problems += self.injector.idle_overrides({*apart, ComponentRegistry, ValueSource})
        if settings.preferred_channel:
            try:
                self.proxies.check_channel(settings.preferred_channel)
            except LocalError as error:
                problems.append(f"setting preferred_channel: {error.message}")
        self._bridge, self._values = bridge, values
        return list(dict.fromkeys(problems))

    async def _start(self, stack: AsyncExitStack) -> None:
        settings = self.settings
        if problems := await self._check(stack):
            raise ConfigurationError(f"{self._module.__name__} cannot start", problems)
        for doubt in self.policies.doubts(self.catalog.components):
            log.warning(doubt)
        self._values.keep(self.injector.live)
        await stack.enter_async_context(self.injector)
        self.registry: ComponentRegistry = await self.injector.get(cast("type[Any]", ComponentRegistry))
        await stack.enter_async_context(self.registry)
        destinations = Destinations(
            self.registry, self._channels, self.injector, self.policies, settings, self.identity
        )
        self.destinations = await stack.enter_async_context(destinations)
        for instance in self.injector.get_all(object):
            if find_mark(type(instance), HealthChecksMark) is not None:
                self.health.add(instance)
        await self._fill_dispatch()
        # Each module may add some; those of imported modules are outermost.
        found = self.injector.get_all(Interceptors)
        interceptors = Interceptors(
            client=[each for one in found for each in one.client], server=[each for one in found for each in one.server]
        )
        services = [service for hosted in self.catalog.hosted for service in hosted.component.services]
        keyed = any(method.idempotency_key is not None for service in services for method in service.methods)
        once = [Once(settings.idempotency_memory, settings.max_depth)] if keyed else []
        self.handler = compose(self._implementations, *interceptors.server, *once)
        self.proxies.open(self.handler, interceptors, Limit(settings.max_calls))
        stack.callback(self._bridge.close)
        stack.callback(self.proxies.close)
        for hosted in self.catalog.hosted:
            await stack.enter_async_context(self._running(hosted))

    def _value_source(self, problems: list[str]) -> ValueSource | None:
        """The source of the overrides, else that of the settings."""
        if ValueSource in self._overrides:
            source = self._overrides[ValueSource]
            if isinstance(source, ValueSource):
                return source
            problems.append(f"the override of ValueSource has to be an object that is one, got {source!r}")
        elif self.settings.value_source:
            try:
                return make_value_source(self.settings.value_source)
            except ValueError as error:
                problems.append(f"setting value_source: {error}")
        return None

    def _make_injector(self, problems: list[str], values: LiveValues) -> Injector:
        recipes: list[Recipe] = [
            *recipes_of_module(self._module),
            recipe_of_object(self.settings),
            recipe_of_object(self.health),
            # Made per component, at the first call; here so that what their constructors ask for is checked now.
            *(recipe_of_class(cls, "transient") for cls in self.catalog.channels.values()),
        ]
        for recipe in recipes:
            if isinstance(recipe.product, type) and find_mark(recipe.product, HealthChecksMark) is not None:
                problems += health_problems(recipe.product)
        provided = {key for recipe in recipes for key in recipe.keys} | self._overrides.keys()
        if ComponentRegistry not in provided:
            try:
                registry = make_registry(self.settings.registry)
            except ValueError as error:
                problems.append(f"setting registry: {error}")
            else:
                recipes.append(recipe_of_object(registry, ComponentRegistry))
                self.registry_url = self.settings.registry
        return Injector(recipes, overrides=self._overrides, values=values, services=self.proxies)

    def _destination(self, component: ComponentDescription) -> Destination:
        return self.destinations.to(component)  # which are not there yet when proxies are made

    async def _fill_dispatch(self) -> None:
        local = [interface for interface in self._overrides if self.proxies.is_service(interface)]
        for interface in dict.fromkeys([*self.catalog.implementations, *local]):
            service = self.catalog.service(interface)
            (recipe,) = self.injector.providers(interface)
            component = self.catalog.component_name(interface)
            if recipe.scope == "request":
                self._implementations.add_scoped(service, recipe.product, partial(self._lend, recipe), component)
            else:
                self._implementations.add(service, await self.injector.instance(recipe), component)

    @asynccontextmanager
    async def _lend(self, recipe: Recipe) -> AsyncGenerator[Any]:
        async with self.injector.request() as scope:
            yield await scope.instance(recipe)

    @asynccontextmanager
    async def _running(self, hosted: Hosted) -> AsyncGenerator[None]:
        (recipe,) = self.injector.providers(hosted.component.interface)
        component: Component = await self.injector.instance(recipe)
        if isinstance(component, AbstractComponent):
            component.health_checks = self.health
        where = f"startup() of component {hosted.component.name!r}"
        try:
            await _settled(component.startup())
        except Exception as error:
            error.add_note(f"in {where}")
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and not task.cancelling():
                raise RuntimeError(f"{where} waited for something that was cancelled") from error
            raise
        _set_status(component, ComponentStatus.RUNNING)
        self._components.append((hosted, component))
        try:
            yield
        finally:
            self._components.remove((hosted, component))
            try:
                async with asyncio.timeout(_GRACE):
                    await _settled(component.shutdown())
            except Exception:  # one component's failure must not keep the others from stopping
                log.exception("shutdown of component %r failed", hosted.component.name)
            _set_status(component, ComponentStatus.STOPPED)

    def is_local(self, interface: type) -> bool:
        """Whether the service is implemented in this process."""
        return interface in self.catalog.implementations or interface in self._overrides

    def server(self) -> Server:
        """A server over the implementations of this mesh."""
        settings = self.settings
        return Server(
            self.handler,
            max_concurrency=settings.max_concurrency,
            request_timeout=settings.request_timeout,
            debug=settings.debug,
            limit=AdaptiveLimit(settings.max_concurrency) if settings.adaptive_limit else None,
        )

    @cached_property
    def contract(self) -> Contract:
        """What this process serves."""
        return contract_of(component_contract(hosted.component) for hosted in self.catalog.hosted)

    def why(self, interface: type, name: str, wanted: str) -> Explanation:
        """Why a call made now would go where it goes."""
        reason = self.proxies.why_not(interface, wanted)
        if reason:
            raise LocalError(Code.INVALID_ARGUMENT, reason)
        service = self.catalog.service(interface)
        method = service.method(name)
        if method is None:
            hint = did_you_mean(name, [method.name for method in service.methods])
            raise LocalError(Code.INVALID_ARGUMENT, f"{service.name} has no method {name!r}{hint}")
        component = self.catalog.component_of(interface)
        if self.is_local(interface) and wanted in {"", LOCAL}:
            return explain_local(component.name, method, self.policies.of_local_method(component, service, method))
        resolved = self.policies.of_method(component, service, method)
        found = explain(self.destinations.to(component), method, resolved, wanted)
        return msgspec.structs.replace(found, contract=self.destinations.remarks(component, method))

    def instances(self, base_url: str) -> list[Instance]:
        """What this process announces if it is reached under the URL: one instance per component.

        Raises:
            ConfigurationError: a component names a channel that nobody knows or a URL that is none, or the registry
                cannot hold it.
        """
        found: list[Instance] = []
        problems: list[str] = []
        digests = {component.name: component.digest for component in self.contract.components}
        for hosted, component in self._components:
            name = hosted.component.name
            addresses = tuple(component.get_addresses(base_url))
            place = f"{hosted.implementation.__qualname__}.get_addresses"
            for address in addresses:
                try:
                    self.proxies.check_channel(address.channel)
                except LocalError as error:
                    problems.append(f"{place}: {error.message}")
                if reason := url_objection(address.url):
                    problems.append(f"{place}: channel {address.channel!r} of component {name!r}: {reason}")
            settings = self.settings
            instance = Instance(
                f"{name}-{self.identity}",
                name,
                addresses,
                version=settings.version,
                zone=settings.zone,
                weight=settings.weight,
                health=f"{base_url.rstrip('/')}{hosted.health_path}" if hosted.health_path else "",
                digest=digests[name],
            )
            objection = self.registry.objection(instance)
            if objection:
                problems.append(f"component {name!r}: {objection}")
            found.append(instance)
        if problems:
            raise ConfigurationError(f"{self._module.__name__} cannot start", problems)
        return found

    async def component_health(self, hosted: Hosted) -> HealthCheckManager.Health:
        """The health of a component of this process."""
        for each, component in self._components:
            if each is hosted:
                return await component.get_health()
        raise CommunicationError(Code.UNAVAILABLE, f"component {hosted.component.name!r} is not running")


def _is_found(kind: type) -> bool:
    return issubclass(kind, Interceptors) or find_mark(kind, HealthChecksMark) is not None


async def _settled(result: Any) -> None:
    if inspect.isawaitable(result):
        await result


def _set_status(component: Component, status: ComponentStatus) -> None:
    if isinstance(component, AbstractComponent):
        component.status = status
