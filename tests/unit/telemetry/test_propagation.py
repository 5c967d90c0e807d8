"""The headers of a trace go through every hop, without any library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from meshcore import (
    BlockingMesh,
    Call,
    Channel,
    Endpoint,
    Handler,
    Interceptors,
    blocking,
    channel,
    client_module,
    create,
    module,
)
from meshcore.core.context.current_call import BAGGAGE, TRACEPARENT, TRACESTATE, ambient_trace
from meshcore.testing import memory_mesh
from tests.support.relay import (
    HERMETIC,
    Last,
    LastComponent,
    LastModule,
    Middle,
    relay,
    relay_in_process,
)

TRACE = {
    TRACEPARENT: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    TRACESTATE: "congo=t61rcWkgMzE",
    BAGGAGE: "user=7",
}
BEGIN = msgspec.structs.replace(HERMETIC, traces="begin")
CHANNELS = ["dispatch-json", "dispatch-msgpack", "rest", "stream-msgpack"]


@contextmanager
def within(headers: Mapping[str, str] | None) -> Generator[None]:
    """As in a call that came with these headers."""
    token = ambient_trace.set(headers)
    try:
        yield
    finally:
        ambient_trace.reset(token)


async def texts() -> AsyncIterator[str]:
    """Give the items of a call."""
    yield "one"
    yield "two"


async def asked_in_all_forms(middle: Middle) -> list[dict[str, str]]:
    """Return what the last one tells, through each form of the middle one."""
    return [
        await middle.ask(),
        await middle.ask_in_thread(),
        *[each async for each in middle.ask_twice()],
        await middle.take(texts()),
    ]


@pytest.mark.parametrize("over", CHANNELS)
async def test_a_trace_goes_through_all_hops(over: str) -> None:
    """Through implementations on the loop, in threads and with streams; a call without one has none after it."""
    async with relay(over) as mesh:
        middle = await mesh.get_service(Middle)
        with within(TRACE):
            assert await asked_in_all_forms(middle) == [TRACE] * 5
        assert await asked_in_all_forms(middle) == [{}] * 5
        with within({BAGGAGE: "user=7"}):
            assert await middle.ask() == {BAGGAGE: "user=7"}


async def test_a_trace_goes_through_calls_within_a_process() -> None:
    """There it surrounds the implementation, and no headers are needed."""
    async with relay_in_process() as mesh:
        middle = await mesh.get_service(Middle)
        with within(TRACE):
            assert await asked_in_all_forms(middle) == [TRACE] * 5
        assert await middle.ask() == {}


async def test_headers_of_a_call_of_its_own_come_first() -> None:
    """An interceptor that sets a traceparent is somebody who traces: nothing of another trace is added to it."""
    own = {TRACEPARENT: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

    async def traced(handler: Handler, call: Call) -> Any:
        return await handler(msgspec.structs.replace(call, headers={**call.headers, **own}))

    @module()
    class Client:
        @create()
        def interceptors(self) -> Interceptors:
            return Interceptors(client=[traced])

    async with memory_mesh(LastModule, client=Client) as mesh:
        last = await mesh.get_service(Last)
        assert await last.told() == own
        with within(TRACE):
            assert (await last.told())[TRACEPARENT] == own[TRACEPARENT]


async def test_what_is_malformed_is_dropped_at_the_first_hop() -> None:
    """And the call is served."""
    bad = {TRACEPARENT: "00-short-01", TRACESTATE: "a=1", BAGGAGE: "no member, b=2"}
    async with relay("dispatch-msgpack") as mesh:
        middle = await mesh.get_service(Middle)
        with within(bad):
            assert await middle.ask() == {BAGGAGE: "b=2"}
        with within({**TRACE, TRACESTATE: f"{'k' * 300}=1", BAGGAGE: f"a={'v' * 9000}"}):
            assert await middle.ask() == {TRACEPARENT: TRACE[TRACEPARENT]}


async def test_a_process_that_is_asked_to_begins_traces() -> None:
    """One for each call that belongs to none; it is passed on as any other."""
    async with relay("dispatch-json", BEGIN) as mesh:
        middle = await mesh.get_service(Middle)
        first, second = await middle.ask(), await middle.ask()
        assert first.keys() == {TRACEPARENT}
        assert first != second
        with within(TRACE):
            assert await middle.ask() == TRACE
        with within({BAGGAGE: "user=7"}):
            assert (await middle.ask()).keys() == {TRACEPARENT, BAGGAGE}
    async with relay_in_process(BEGIN) as mesh:
        twice = [each async for each in (await mesh.get_service(Middle)).ask_twice()]
        assert twice[0] == twice[1] != {}


@channel("recording")
class RecordingChannel(Channel):
    """Answers with the headers that it would send."""

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        return dict(call.headers)


def test_a_trace_goes_through_a_blocking_mesh() -> None:
    """From the thread that calls to the loop of the mesh, and from there to threads and back."""

    @module(imports=[client_module(LastComponent)], provides=[RecordingChannel])
    class Client: ...

    settings = msgspec.structs.replace(HERMETIC, registry="static:last-component=recording(http://last)")
    with BlockingMesh(Client, settings=settings) as mesh, within(TRACE):
        last = mesh.get_service(Last)
        assert blocking(last.told)() == TRACE
        assert mesh.run(last.told()) == TRACE
