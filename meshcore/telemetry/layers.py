"""What is composed into the stacks for traces: nothing, unless the setting `traces` or an instrumentation asks for it.

The headers of traces need no layer: `client/deadline.py` and `server/server.py` pass them on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Any, Final

import msgspec

from meshcore.core.call import Call, Handler, Interceptor
from meshcore.core.errors import ConfigurationError
from meshcore.core.trace import TRACEPARENT, ambient_trace
from meshcore.telemetry.trace_context import begin_trace

BEGIN: Final = "begin"
OPENTELEMETRY: Final = "opentelemetry"


class ClientTraces(msgspec.Struct, frozen=True):
    """What is composed into a client stack.

    Attributes:
        call: outermost, around all attempts.
        attempt: around each attempt, inside of retries and hedges.
    """

    call: Sequence[Interceptor] = ()
    attempt: Sequence[Interceptor] = ()


NO_TRACES: Final = ClientTraces()


class Traces(msgspec.Struct, frozen=True):
    """What is composed into the stacks of a mesh.

    Attributes:
        client: gives what is composed into the stack of the calls to a component, by its name.
        server: around the implementation, outside of the user's interceptors; also for calls within the process.
    """

    client: Callable[[str], ClientTraces] = lambda _: NO_TRACES
    server: Sequence[Interceptor] = ()


class _Instrumentation:
    """What an instrumentation of this process has asked for.

    Attributes:
        traces: of all meshes that start from now on, None if their settings decide.
    """

    traces: Traces | None = None


def instrument(traces: Traces | None) -> None:
    """Compose this into all meshes of this process that start from now on, whatever their settings say.

    Args:
        traces: None to let the settings decide again.
    """
    _Instrumentation.traces = traces


def traces_of(setting: str) -> Traces:
    """What is composed into the stacks of a mesh.

    Args:
        setting: the setting `traces`.

    Raises:
        ConfigurationError: OpenTelemetry's API is not installed.
    """
    if _Instrumentation.traces is not None:
        return _Instrumentation.traces
    if setting == BEGIN:
        return Traces(client=lambda _: ClientTraces(call=[in_a_trace]), server=[in_a_trace])
    if setting == OPENTELEMETRY:
        try:
            spans = import_module("meshcore.telemetry.opentelemetry.spans")
        except ModuleNotFoundError as error:
            text = f'"{OPENTELEMETRY}" needs the package {error.name}: install "meshcore-runtime[otel]"'
            raise ConfigurationError("setting traces", [text]) from error
        traces: Traces = spans.span_traces()
        return traces
    return Traces()


def in_a_trace(handler: Handler, call: Call) -> Awaitable[Any]:
    """Begin a trace for a call that belongs to none: an interceptor."""
    ambient = ambient_trace.get()
    return handler(call) if ambient is not None and TRACEPARENT in ambient else _begun(handler, call)


async def _begun(handler: Handler, call: Call) -> Any:
    token = ambient_trace.set({**(ambient_trace.get() or {}), **begin_trace()})
    try:
        return await handler(call)
    finally:
        ambient_trace.reset(token)
