"""Builds the handler of a proxy: the implementation in this process, or the client stack to another process."""

from __future__ import annotations

import random
import time
from math import inf

from meshcore.client.balancer import Balancer
from meshcore.client.deadline import Limit, LocalDeadline
from meshcore.client.destinations import Destinations
from meshcore.client.stack import client_stack
from meshcore.client.streaming.balancer import StreamBalancer
from meshcore.client.streaming.idle import Idle
from meshcore.client.streaming.resume import Resume
from meshcore.client.streaming.run import Streams
from meshcore.client.streaming.stack import client_stream_stack
from meshcore.core.call import (
    Handler,
    Interceptor,
    Interceptors,
    StreamHandler,
    StreamInterceptor,
    compose,
    interceptors_for,
)
from meshcore.core.description import ComponentDescription, ServiceDescription
from meshcore.core.errors import ConfigurationError
from meshcore.core.policy import Policy
from meshcore.core.streaming.handler import around_stream, compose_streams
from meshcore.inject.injector import Injector
from meshcore.mesh.blueprint import Blueprint
from meshcore.ports.channel import LOCAL
from meshcore.security.tokens.passing import pass_user_token
from meshcore.telemetry.layers import Traces
from meshcore.telemetry.recorder import Recorder


class Handlers:
    """Builds handlers for proxies: of calls with one result, and of streaming calls.

    Args:
        blueprint: of the mesh.
        destinations: the components in other processes.
        served: runs the implementations of this process.
        interceptors: of the user.
        streams: runs the streaming methods of this process.
        running: the streams that are under way.
        recorder: counts the calls to other processes.
        traces: what is composed for traces.
    """

    def __init__(  # noqa: PLR0913 - the parts of a mesh that its handlers need
        self,
        blueprint: Blueprint,
        destinations: Destinations,
        served: Handler,
        interceptors: Interceptors,
        streams: StreamHandler,
        running: Streams,
        *,
        recorder: Recorder,
        traces: Traces,
    ) -> None:
        self._recorder = recorder
        self._catalog = blueprint.catalog
        self._policies = blueprint.policies
        self._destinations = destinations
        self._interceptors = interceptors.client
        self._stream_interceptors = interceptors.client_streams
        self._served, self._served_streams = served, streams
        self._limit = Limit(blueprint.settings.max_calls)
        self._running = running
        self._traces = traces
        self._carriers = blueprint.carriers

    def close(self) -> None:
        """Drop what waits for calls, when there are none any more."""
        self._limit.close()

    def build(self, interface: type, channel: str, policy: Policy | None) -> tuple[Handler, StreamHandler]:
        """The handlers of a service's calls.

        Args:
            interface: of the service.
            channel: that the calls must use: "local", another one, or empty for any.
            policy: of the caller, None if it has none.
        """
        if channel == LOCAL:
            return self._in_process(interface, policy), self._streams_in_process(interface, policy)
        return self._remote(interface, channel, policy), self._remote_streams(interface, channel, policy)

    def _in_process(self, interface: type, policy: Policy | None) -> Handler:
        component, service = self._component(interface), self._catalog.service(interface)
        local = compose(self._served, *self._around(component, service))
        rules = self._policies.local_rules(component, service, policy)
        if all(each.timeout == inf for each in rules.values()):
            return local
        return compose(local, LocalDeadline(rules, time.monotonic))

    def _around(self, component: ComponentDescription | None, service: ServiceDescription) -> list[Interceptor]:
        """The interceptors around the calls to a service, the first outermost."""
        around = interceptors_for(component.name if component else "", self._interceptors)
        # Outermost: those of the user find the token that goes on.
        return [pass_user_token, *around] if any(each.passes_token for each in service.methods) else around

    def _around_streams(
        self, component: ComponentDescription | None, service: ServiceDescription
    ) -> list[StreamInterceptor]:
        return [*map(around_stream, self._around(component, service)), *self._stream_interceptors]

    def _streams_in_process(self, interface: type, policy: Policy | None) -> StreamHandler:
        component, service = self._component(interface), self._catalog.service(interface)
        rules = self._policies.local_rules(component, service, policy)
        return compose_streams(
            compose_streams(self._served_streams, *self._around_streams(component, service)),
            self._running,
            around_stream(LocalDeadline(rules, time.monotonic)),
            Idle(rules),
            Resume(rules, time.monotonic, random.Random()),
        )

    def _remote_streams(self, interface: type, channel: str, policy: Policy | None) -> StreamHandler:
        component, service = self._catalog.component_of(interface), self._catalog.service(interface)
        destination, calls = self._destinations.to(component), self._recorder.client(component.name)
        stack = client_stream_stack(
            StreamBalancer(destination, channel, self._carriers, calls),
            destination.traffic,
            rules=self._policies.rules(component, service, policy),
            limit=self._limit,
            interceptors=self._around_streams(component, service),
            resilient=self._policies.resilient,
            calls=calls,
            traces=self._traces.client(component.name),
        )
        return compose_streams(stack, self._running)

    def _component(self, interface: type) -> ComponentDescription | None:
        """The component whose policy governs calls in this process; an override may replace a service of none."""
        try:
            return self._catalog.component_of(interface)
        except ConfigurationError:
            return None

    def _remote(self, interface: type, channel: str, policy: Policy | None) -> Handler:
        component, service = self._catalog.component_of(interface), self._catalog.service(interface)
        destination = self._destinations.to(component)
        rules = self._policies.rules(component, service, policy)
        self._recorder.watch.remember("made", component.name, rules)  # also of its streams
        return client_stack(
            Balancer(destination, channel),
            destination.traffic,
            rules=rules,
            interceptors=self._around(component, service),
            limit=self._limit,
            resilient=self._policies.resilient,
            calls=self._recorder.client(component.name),
            traces=self._traces.client(component.name),
        )


def interceptors_of(injector: Injector) -> Interceptors:
    """Those of all modules; the interceptors of imported modules are outermost."""
    found = injector.get_all(Interceptors)
    return Interceptors(
        client=[each for one in found for each in one.client],
        server=[each for one in found for each in one.server],
        client_streams=[each for one in found for each in one.client_streams],
        server_streams=[each for one in found for each in one.server_streams],
    )
