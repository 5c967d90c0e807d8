"""A running mesh: its parts, started in order and stopped in reverse order."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from meshcore.client.bridge import Bridge
from meshcore.client.destinations import Destinations
from meshcore.client.streaming.run import Streams
from meshcore.client.why import Explanation, explain, explain_local
from meshcore.codec.codec import Limits
from meshcore.core.call import Handler, Interceptors, StreamHandler, compose
from meshcore.core.errors import Code, LocalError
from meshcore.core.marks import find_mark
from meshcore.core.settings import Settings
from meshcore.core.streaming.handler import around_stream, compose_streams
from meshcore.core.suggest import did_you_mean
from meshcore.declare.health import HealthCheckManager, HealthChecksMark
from meshcore.inject.injector import Injector
from meshcore.inject.recipes import Recipe
from meshcore.mesh.blueprint import Blueprint
from meshcore.mesh.catalog import Catalog
from meshcore.mesh.channels import Channels
from meshcore.mesh.handlers import Handlers, interceptors_of
from meshcore.mesh.hosting import Hosting
from meshcore.mesh.live_values import LiveValues
from meshcore.mesh.proxies import Proxies
from meshcore.mesh.security.asking import client_tls
from meshcore.mesh.security.authorization import authorized
from meshcore.mesh.security.identity import certificates_of
from meshcore.mesh.seen import seen, watch_calls
from meshcore.ports.channel import LOCAL, ChannelTLS
from meshcore.ports.registry import ComponentRegistry
from meshcore.security.authorization.guard import Authorization
from meshcore.security.authorization.operators import Operators, operators_of
from meshcore.security.tokens.guard import TokenGuard
from meshcore.security.tokens.verifier import TokenVerifier
from meshcore.server.idempotency import Idempotency
from meshcore.server.implementations import Implementations
from meshcore.server.streaming.implementations import StreamImplementations
from meshcore.server.streaming.server import StreamingServer
from meshcore.server.worker_threads import WorkerThreads
from meshcore.telemetry.families import CERTIFICATE_EXPIRY
from meshcore.telemetry.layers import Traces, meter_of, traces_of
from meshcore.telemetry.recorder import Recorder
from meshcore.telemetry.snapshot import snapshot
from meshcore.traffic.adaptive_limit import AdaptiveLimit

if TYPE_CHECKING:
    from meshcore.security.certificates import Certificates

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The parts of a running mesh.

    Attributes:
        identity: of this process, in the ids of its instances.
        bridge: brings what is called elsewhere to the loop of the mesh.
        blueprint: what the mesh was built from.
        injector: has made all objects.
        registry: where components are announced and found.
        destinations: the components that are called.
        proxies: of all services.
        handler: runs the implementations of this process.
        streams: runs those of streaming methods.
        hosting: the components of this process.
        recorder: what is counted of the calls.
        authorization: judges the calls of other processes, None if nothing is to be judged.
        tokens: verifies their tokens, None if no module has a verifier.
        certificates: of this process; None without an identity.
        tls: of the connections that this process opens; None without an identity.
    """

    identity: str
    bridge: Bridge
    blueprint: Blueprint
    injector: Injector
    registry: ComponentRegistry
    destinations: Destinations
    proxies: Proxies
    handler: Handler
    streams: StreamHandler
    hosting: Hosting
    recorder: Recorder
    authorization: Authorization | None
    tokens: TokenGuard | None
    certificates: Certificates | None
    tls: ChannelTLS | None

    @property
    def settings(self) -> Settings:
        """The settings of the mesh."""
        return self.blueprint.settings

    @property
    def catalog(self) -> Catalog:
        """What the modules declare."""
        return self.blueprint.catalog

    def server(self) -> StreamingServer:
        """A server over the implementations of this mesh."""
        settings = self.settings
        server = StreamingServer(
            self.handler,
            self.streams,
            max_concurrency=settings.max_concurrency,
            request_timeout=settings.request_timeout,
            debug=settings.debug,
            limit=AdaptiveLimit(settings.max_concurrency) if settings.adaptive_limit else None,
            max_unsent=settings.max_unsent,
            served=self.recorder.served,
        )
        server.access_log = settings.access_log
        server.guard = self.tokens
        if (authorization := self.authorization) is not None:  # asks the former itself

            def set_guard() -> None:
                server.guard = authorization.guard if authorization.needed else None

            authorization.follow(set_guard)
        return server

    def operators(self) -> Operators | None:
        """Who may read the endpoints of operators, None for everybody.

        Raises:
            ConfigurationError: rules are to decide, and none are judged.
        """
        served = (hosted.component.name for hosted in self.catalog.hosted)
        return operators_of(self.settings, served, self.authorization, identity=self.certificates is not None)

    def why(self, interface: type, name: str, channel: str) -> Explanation:
        """Why a call made now would go where it goes.

        Args:
            interface: of the service.
            name: of the method.
            channel: that the call must use, empty for any.

        Raises:
            LocalError: there is no such method or channel.
        """
        if reason := self.blueprint.why_not(interface, channel):
            raise LocalError(Code.INVALID_ARGUMENT, reason)
        service = self.catalog.service(interface)
        method = service.method(name)
        if method is None:
            hint = did_you_mean(name, [method.name for method in service.methods])
            raise LocalError(Code.INVALID_ARGUMENT, f"{service.name} has no method {name!r}{hint}")
        component = self.catalog.component_of(interface)
        policies = self.blueprint.policies
        if self.blueprint.is_local(interface) and channel in {"", LOCAL}:
            return explain_local(component.name, method, policies.of_local_method(component, service, method))
        resolved = policies.of_method(component, service, method)
        found = explain(self.destinations.to(component), method, resolved, channel)
        return msgspec.structs.replace(found, contract=self.destinations.contract_differences(component, method))


@asynccontextmanager
async def start_runtime(
    module: type, settings: Settings, overrides: Mapping[type, object]
) -> AsyncGenerator[Runtime, None]:
    """Check everything, then start everything; stop it in reverse order when the context is left.

    Raises:
        ConfigurationError: with everything that cannot work; then nothing was started.
    """
    blueprint = Blueprint(module, settings, overrides)
    identity = secrets.token_hex(8)
    async with AsyncExitStack() as stack:
        workers = WorkerThreads(settings.max_threads)
        stack.callback(workers.close)
        # Left after the injector, so that values are updated until all objects are cleaned up.
        values = await stack.enter_async_context(LiveValues(settings, blueprint.value_source))
        graph = await blueprint.graph(values)
        for warning in blueprint.policies.warnings(blueprint.catalog.described):
            log.warning(warning)
        values.keep_updated(graph.live)
        # Before everything that connects to others or is reached by them.
        certificates = await stack.enter_async_context(
            certificates_of(blueprint.identity_source, module, blueprint.catalog)
        )
        bridge = Bridge(asyncio.get_running_loop())
        proxies = Proxies(blueprint, bridge)
        injector = await stack.enter_async_context(Injector(graph, proxies.proxy))
        registry: ComponentRegistry = await injector.get(cast("type[Any]", ComponentRegistry))
        await stack.enter_async_context(registry)
        tls = await stack.enter_async_context(client_tls(certificates, settings, registry))
        channels = Channels(blueprint, injector, tls)
        destinations = await stack.enter_async_context(
            Destinations(
                registry,
                frozenset(blueprint.channels),
                channels.make,
                blueprint.policies,
                settings,
                identity,
                hint=blueprint.catalog.why_not_hosted,
            )
        )
        destinations.tls = tls
        await _collect_health_checks(injector)
        interceptors = interceptors_of(injector)
        traces = traces_of(settings.traces)
        handler, streams = await _served(blueprint, injector, workers, interceptors, traces)
        stack.callback(bridge.close)
        running = Streams()
        meter = meter_of(settings.meter)
        recorder = Recorder((hosted.component for hosted in blueprint.catalog.hosted), meter.series)
        recorder.destinations = partial(seen, destinations)
        if certificates is not None:
            recorder.gauges[CERTIFICATE_EXPIRY.name] = lambda: certificates.ends
        stack.enter_context(meter.read(partial(bridge.at_once, "metrics()", partial(snapshot, recorder))))
        watch_calls(recorder.watch, blueprint)
        authorization = await stack.enter_async_context(authorized(blueprint, values, recorder.served))
        tokens = TokenGuard.of(injector.get_all(TokenVerifier))
        if tokens is not None:
            stack.push_async_callback(tokens.aclose)
        if authorization is not None:
            authorization.verify = tokens
        handlers = Handlers(
            *(blueprint, destinations, handler, interceptors, streams, running), recorder=recorder, traces=traces
        )
        stack.callback(handlers.close)
        stack.enter_context(proxies.connected(handlers))
        hosting = await stack.enter_async_context(Hosting(blueprint, identity, injector, registry, workers))
        # Left before the components shut down: streams may need what these close.
        await stack.enter_async_context(running)
        yield Runtime(
            identity=identity,
            bridge=bridge,
            blueprint=blueprint,
            injector=injector,
            registry=registry,
            destinations=destinations,
            proxies=proxies,
            handler=handler,
            streams=streams,
            hosting=hosting,
            recorder=recorder,
            authorization=authorization,
            tokens=tokens,
            certificates=certificates,
            tls=tls,
        )


async def _collect_health_checks(injector: Injector) -> None:
    manager = await injector.get(HealthCheckManager)
    for instance in injector.get_all(object):
        if find_mark(type(instance), HealthChecksMark) is not None:
            manager.add(instance)


async def _served(
    blueprint: Blueprint, injector: Injector, workers: WorkerThreads, interceptors: Interceptors, traces: Traces
) -> tuple[Handler, StreamHandler]:
    """The handlers that run the implementations of this process: of calls with one result, and of streaming calls."""
    catalog, settings = blueprint.catalog, blueprint.settings
    implementations, streams = Implementations(workers), StreamImplementations(workers)
    overridden = [interface for interface in blueprint.overrides if blueprint.is_service(interface)]
    for interface in dict.fromkeys([*catalog.implementations, *overridden]):
        service = catalog.service(interface)
        (recipe,) = injector.providers(interface)
        component = catalog.component_name(interface)
        if recipe.scope == "request":
            lend = partial(_instance_of_request, injector, recipe)
            implementations.add_scoped(service, recipe.product, lend, component)
            streams.add_scoped(service, recipe.product, lend, component)
        else:
            instance = await injector.instance(recipe)
            implementations.add(service, instance, component)
            streams.add(service, instance, component)
    services = [service for hosted in catalog.hosted for service in hosted.component.services]
    keyed = any(method.idempotency_key is not None for service in services for method in service.methods)
    limits = Limits(max_depth=settings.max_depth, max_items=settings.item_limit)
    idempotency = [Idempotency(settings.idempotency_memory, limits)] if keyed else []
    around = [*map(around_stream, [*traces.server, *interceptors.server]), *interceptors.server_streams]
    # The method: to call the object would take 0.1 us more.
    calls = compose(implementations.__call__, *traces.server, *interceptors.server, *idempotency)
    return calls, compose_streams(streams, *around)


@asynccontextmanager
async def _instance_of_request(injector: Injector, recipe: Recipe) -> AsyncGenerator[Any]:
    async with injector.request() as scope:
        yield await scope.instance(recipe)
