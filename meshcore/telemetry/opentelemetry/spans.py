"""Records a span for each call that is made, for each of its attempts, and for each call that is served.

These are interceptors at three places of the stacks; see `telemetry/layers.py`. Around a stream they last as long as
it does. A call that is not sampled costs its start alone.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import ContextVar
from functools import lru_cache
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import msgspec
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import Span, SpanKind, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue

from meshcore.core.attempt import Attempt
from meshcore.core.call import LOCAL_PEER, Call, Handler
from meshcore.core.context.current_call import ambient_request
from meshcore.core.description import Method
from meshcore.telemetry import conventions as names
from meshcore.telemetry.layers import ClientTraces, Traces
from meshcore.telemetry.opentelemetry.outcomes import end_badly, end_well
from meshcore.telemetry.opentelemetry.propagation import CallerSpan, Propagation, span_headers

# The span of the call whose attempts are made, if it is recorded.
_client_span: ContextVar[Span | None] = ContextVar("client_span", default=None)


def span_traces(provider: TracerProvider | None = None) -> Traces:
    """The layers that record spans.

    Args:
        provider: of the spans; OpenTelemetry's global one by default.
    """
    tracer = trace.get_tracer(names.SCOPE, version("meshcore-runtime"), provider, names.SCHEMA_URL)
    propagation = Propagation()

    def client(component: str) -> ClientTraces:
        spans = ClientSpans(tracer, propagation, component)
        return ClientTraces(call=[spans.call], attempt=[spans.attempt])

    return Traces(client=client, server=[ServerSpans(tracer, propagation).call])


class _Spans:
    """What both sides have in common.

    Args:
        tracer: makes the spans.
        propagation: takes their contexts to other processes.
        more: attributes of all spans.
    """

    def __init__(self, tracer: Tracer, propagation: Propagation, more: dict[str, AttributeValue]) -> None:
        self._tracer = tracer
        self._propagation = propagation
        self._more = more
        self._known: dict[Method, tuple[str, dict[str, AttributeValue]]] = {}
        self._follows = _follows_parents(tracer)

    def _drops(self, parent: Span) -> bool:
        """Whether a span with that parent is certainly not sampled. To ask the SDK for one takes 4 us."""
        if not self._follows:
            return False
        if type(parent) is CallerSpan:
            return not parent.sampled
        found = parent.get_span_context()
        return found.is_valid and not found.trace_flags.sampled

    def _name(self, method: Method) -> tuple[str, dict[str, AttributeValue]]:
        """The name of the span of a call, and the attributes that all these spans have."""
        found = self._known.get(method)
        if found is None:
            name = names.method_name(method.service, method.name)
            found = name, {names.SYSTEM_NAME: names.SYSTEM, names.METHOD: name, **self._more}
            self._known[method] = found
        return found


class ClientSpans(_Spans):
    """The spans of calls to one component."""

    def __init__(self, tracer: Tracer, propagation: Propagation, component: str) -> None:
        super().__init__(tracer, propagation, {names.SERVER_ADDRESS: component})

    def call(self, handler: Handler, call: Call) -> Awaitable[Any]:
        """Record a call with all its attempts."""
        parent = trace.get_current_span()
        if self._drops(parent):
            headers = self._propagation.headers(call.headers, parent, get_current())
            return handler(msgspec.structs.replace(call, headers=headers))
        name, attributes = self._name(call.method)
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        headers = self._propagation.headers(call.headers, span, get_current())
        call = msgspec.structs.replace(call, headers=headers)
        if not span.is_recording():
            return handler(call)
        return self._recorded(handler, call, span, trace.set_span_in_context(span))

    async def _recorded(self, handler: Handler, call: Call, span: Span, context: Context) -> Any:
        with _Current(span, context):
            token = _client_span.set(span)
            try:
                result = await handler(call)
            except BaseException as error:
                end_badly(span, error, call, served=False)
                raise
            finally:
                _client_span.reset(token)
            end_well(span)
            return result

    def attempt(self, handler: Handler, call: Call) -> Awaitable[Any]:
        """Record an attempt of a call that is recorded.

        Its kind is that of the call, although the call has a span of that kind already: what draws a graph of services
        looks for the parent of a server's span among the spans of clients.
        """
        return handler(call) if _client_span.get() is None else self._attempted(handler, call)

    async def _attempted(self, handler: Handler, call: Call) -> Any:
        name, attributes = self._name(call.method)
        kind = names.FIRST
        if call.attempt > 1:
            kind = names.HEDGE if any(each.seconds is None for each in call.trail) else names.RETRY
        more = {**attributes, names.ATTEMPT: call.attempt, names.ATTEMPT_KIND: kind}
        span = self._tracer.start_span(names.attempt_name(name), kind=SpanKind.CLIENT, attributes=more)
        context = trace.set_span_in_context(span)
        headers = self._propagation.headers(call.headers, span, context)
        trail = _Trail(call.trail)
        call = msgspec.structs.replace(call, headers=headers, trail=trail)
        with _Current(span, context):
            try:
                result = await handler(call)
            except BaseException as error:
                end_badly(span, error, call, served=False)
                raise
            else:
                end_well(span)
                return result
            finally:
                self._tell(span, trail)

    def _tell(self, span: Span, trail: _Trail) -> None:
        """Say who was asked, in the span of the attempt and in that of its call."""
        attempt = trail.own
        if attempt is None:  # there was no instance to ask
            return
        span.set_attribute(names.CHANNEL, attempt.channel)
        span.set_attribute(names.INSTANCE, attempt.instance)
        span.set_attribute(names.ATTEMPT_OUTCOME, attempt.outcome)
        if attempt.connecting:
            span.set_attribute(names.CONNECTING, attempt.connecting)
        call = _client_span.get()
        address, port = _address(attempt.url)
        # One that was given up while another succeeds, or is still under way, is not the last.
        of_call = call if attempt.outcome != "given up" or trail.size == 1 else None
        for each in (span, of_call):
            if each is not None and address:
                each.set_attribute(names.PEER_ADDRESS, address)
                each.set_attribute(names.PEER_PORT, port)
        if call is not None:
            call.set_attribute(names.ATTEMPTS, trail.size)


class ServerSpans(_Spans):
    """The spans of calls that are served, and of those within the process."""

    def __init__(self, tracer: Tracer, propagation: Propagation) -> None:
        super().__init__(tracer, propagation, {})

    def call(self, handler: Handler, call: Call) -> Awaitable[Any]:
        """Record a call from its admission to its result."""
        name, attributes = self._name(call.method)
        # Where something else records requests, such as an application that this one is mounted in, its span is there.
        parent = trace.get_current_span()
        if call.peer == LOCAL_PEER:
            if self._drops(parent):
                return handler(call)
            context, kind = None, SpanKind.INTERNAL
        else:
            context = None
            if not parent.get_span_context().is_valid:
                context = self._propagation.context(call.headers)
                parent = trace.get_current_span(context)
            if self._drops(parent):
                return handler(call) if context is None else _within(handler, call, context)
            kind, attributes = SpanKind.SERVER, {**attributes, names.PEER_ADDRESS: call.peer}
            if call.attempt > 1:
                attributes[names.ATTEMPT] = call.attempt
        span = self._tracer.start_span(name, context, kind, attributes)
        return self._served(handler, call, span, trace.set_span_in_context(span, context))

    async def _served(self, handler: Handler, call: Call, span: Span, context: Context) -> Any:
        with _Current(span, context):
            if not span.is_recording():
                return await handler(call)
            if call.peer != LOCAL_PEER and (request := ambient_request.get()) is not None:
                request.trace = span_headers(span)  # for what is logged of it afterwards
            try:
                result = await handler(call)
            except BaseException as error:
                end_badly(span, error, call, served=True)
                raise
            end_well(span)
            return result


async def _within(handler: Handler, call: Call, context: Context) -> Any:
    """Run a call whose spans are not sampled, so that those within it are not either."""
    token = attach(context)
    try:
        result = await handler(call)
    except GeneratorExit:  # as in `_Current`
        raise
    except BaseException:
        detach(token)
        raise
    detach(token)
    return result


def _follows_parents(tracer: Tracer) -> bool:
    """Whether the sampler drops what its parent has dropped, as the SDK's own does by default."""
    sampler = getattr(tracer, "sampler", None)
    described = sampler.get_description() if sampler is not None else ""
    wanted = ("remoteParentNotSampled:AlwaysOffSampler", "localParentNotSampled:AlwaysOffSampler")
    return described.startswith("ParentBased{") and all(each in described for each in wanted)


class _Current:
    """Makes a span the current one, and ends it."""

    __slots__ = ("_context", "_span", "_token")

    def __init__(self, span: Span, context: Context) -> None:
        self._span = span
        self._context = context

    def __enter__(self) -> None:
        self._token = attach(self._context)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._span.end()
        # A coroutine that is closed and not cancelled, with its event loop, is closed in another context: OpenTelemetry
        # would log that it failed to detach.
        if kind is not GeneratorExit:
            detach(self._token)


class _Trail(list[Attempt]):
    """The trail of a call as one of its attempts sees it: what that appends is its own.

    Attributes:
        own: the record of this attempt, None as long as no instance was chosen.
    """

    def __init__(self, shared: list[Attempt]) -> None:
        super().__init__(shared)
        self._shared = shared
        self.own: Attempt | None = None

    def append(self, attempt: Attempt, /) -> None:
        super().append(attempt)
        self._shared.append(attempt)
        self.own = attempt

    @property
    def size(self) -> int:
        """How many attempts there are so far, with those that run at the same time."""
        return len(self._shared)


@lru_cache(1024)
def _address(url: str) -> tuple[str, int]:
    """The host and the port of an instance; empty if its URL has none."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
