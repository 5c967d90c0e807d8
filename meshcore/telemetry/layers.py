"""What is composed for traces and for a meter: nothing, unless a setting or an instrumentation asks for it.

The headers of traces need no layer: `client/deadline.py` and `server/server.py` pass them on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, Final

import msgspec

from meshcore.core.call import Call, Handler, Interceptor
from meshcore.core.context.current_call import TRACEPARENT, ambient_request, ambient_trace
from meshcore.core.errors import ConfigurationError
from meshcore.telemetry.calls import Series
from meshcore.telemetry.snapshot import Snapshot
from meshcore.telemetry.tables import PLAIN
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


class Meter(msgspec.Struct, frozen=True):
    """What is told to a meter.

    Attributes:
        series: makes the series of a mesh.
        read: reads its snapshots as long as the context lasts.
    """

    series: Series = PLAIN
    read: Callable[[Callable[[], Snapshot]], AbstractContextManager[None]] = lambda _: nullcontext()


class _Instrumentation:
    """What an instrumentation of this process has asked for.

    Attributes:
        traces: of all meshes that start from now on, None if their settings decide.
        meter: likewise.
    """

    traces: Traces | None = None
    meter: Meter | None = None


def instrument(traces: Traces | None, meter: Meter | None = None) -> None:
    """Compose this into all meshes of this process that start from now on, whatever their settings say.

    Args:
        traces: None to let the settings decide again.
        meter: likewise.
    """
    _Instrumentation.traces = traces
    _Instrumentation.meter = meter


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
        traces: Traces = _opentelemetry("traces", "spans").span_traces()
        return traces
    return Traces()


def meter_of(setting: str) -> Meter:
    """What the calls of a mesh are told to.

    Args:
        setting: the setting `meter`.

    Raises:
        ConfigurationError: OpenTelemetry's API is not installed.
    """
    if _Instrumentation.meter is not None:
        return _Instrumentation.meter
    if setting == OPENTELEMETRY:
        meter: Meter = _opentelemetry("meter", "meter").mesh_meter()
        return meter
    return Meter()


def _opentelemetry(setting: str, name: str) -> Any:
    """A module of ours that needs OpenTelemetry."""
    try:
        return import_module(f"meshcore.telemetry.opentelemetry.{name}")
    except ModuleNotFoundError as error:
        text = f'"{OPENTELEMETRY}" needs the package {error.name}: install "meshcore-runtime[otel]"'
        raise ConfigurationError(f"setting {setting}", [text]) from error


def in_a_trace(handler: Handler, call: Call) -> Awaitable[Any]:
    """Begin a trace for a call that belongs to none: an interceptor."""
    ambient = ambient_trace.get()
    return handler(call) if ambient is not None and TRACEPARENT in ambient else _begun(handler, call)


async def _begun(handler: Handler, call: Call) -> Any:
    trace = {**(ambient_trace.get() or {}), **begin_trace()}
    token = ambient_trace.set(trace)
    if (request := ambient_request.get()) is not None:
        request.trace = trace  # for what is logged of it afterwards
    try:
        return await handler(call)
    finally:
        ambient_trace.reset(token)
