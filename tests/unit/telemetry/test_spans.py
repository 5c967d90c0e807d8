"""The spans of calls, as OpenTelemetry's SDK records them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler
from opentelemetry.trace import SpanKind, StatusCode

from meshcore import BlockingMesh, Policy, blocking, client_module, module, with_policy
from meshcore.core.context.current_call import BAGGAGE, TRACEPARENT
from meshcore.telemetry.opentelemetry.instrumentor import MeshInstrumentor
from meshcore.testing import Fault, Faults
from tests.support.relay import HERMETIC, Last, LastComponent, Middle, UnfitError, relay, relay_in_process
from tests.unit.telemetry.golden_names import ATTEMPT_SPAN, CLIENT_SPAN, SERVER_SPAN, SPANS
from tests.unit.telemetry.test_propagation import CHANNELS, RecordingChannel, asked_in_all_forms


class Recorded:
    """What was recorded."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        """In the order of their starts."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def tree(self) -> list[str]:
        """A line for each span, indented below its parent."""
        found: list[str] = []

        def add(parent: int | None, depth: int) -> None:
            for span in self.spans:
                if (span.parent.span_id if span.parent else None) == parent:
                    found.append(f"{'  ' * depth}{span.kind.name} {span.name}")
                    add(span.context.span_id, depth + 1)

        add(None, 0)
        return found

    def named(self, name: str, kind: SpanKind) -> ReadableSpan:
        """The only span of that name and kind."""
        (found,) = [span for span in self.spans if span.name == name and span.kind is kind]
        return found


@pytest.fixture
def recorded() -> Generator[Recorded]:
    """All meshes that start in the test record their calls here."""
    found = Recorded()
    MeshInstrumentor().instrument(tracer_provider=found.provider)
    yield found
    MeshInstrumentor().uninstrument()


async def test_the_names(recorded: Recorded) -> None:
    """Of spans and attributes, for a call that succeeds at once."""
    async with relay("dispatch-json") as mesh:
        await (await mesh.get_service(Middle)).ask()
    assert recorded.tree() == SPANS
    client, attempt, server = recorded.spans[3:]
    assert dict(client.attributes or {}) == CLIENT_SPAN
    assert {**(attempt.attributes or {}), "meshcore.instance": "..."} == ATTEMPT_SPAN
    assert dict(server.attributes or {}) == SERVER_SPAN
    assert {span.status.status_code for span in recorded.spans} == {StatusCode.UNSET}
    assert client.instrumentation_scope is not None
    assert client.instrumentation_scope.name == "meshcore"


@pytest.mark.parametrize("over", CHANNELS)
async def test_a_call_through_three_processes_is_one_trace(over: str, recorded: Recorded) -> None:
    """In each form: on the loop, in a thread, with a stream as result and as argument."""
    async with relay(over) as mesh:
        told = await asked_in_all_forms(await mesh.get_service(Middle))
    chains = "\n".join(recorded.tree())
    asked = SPANS[3:]
    for name, times in (("ask", 1), ("ask_in_thread", 1), ("ask_twice", 2), ("take", 1)):
        assert "\n".join([each.replace("/ask", f"/{name}") for each in SPANS[:3]] + asked * times) in chains
    traces = {each[TRACEPARENT].split("-")[1] for each in told}
    assert len(traces) == 4
    assert traces == {f"{span.context.trace_id:032x}" for span in recorded.spans}
    servers = {f"{span.context.span_id:016x}" for span in recorded.spans if span.name == "last/told attempt"}
    assert {each[TRACEPARENT].split("-")[2] for each in told} == servers


async def test_calls_within_a_process_are_one_trace(recorded: Recorded) -> None:
    """Each has one span of kind INTERNAL."""
    async with relay_in_process() as mesh:
        await asked_in_all_forms(await mesh.get_service(Middle))
    assert recorded.tree() == [
        *["INTERNAL middle/ask", "  INTERNAL last/told"],
        *["INTERNAL middle/ask_in_thread", "  INTERNAL last/told"],
        *["INTERNAL middle/ask_twice", "  INTERNAL last/told", "  INTERNAL last/told"],
        *["INTERNAL middle/take", "  INTERNAL last/told"],
    ]


def test_a_blocking_mesh_goes_on_with_the_span_of_its_thread(recorded: Recorded) -> None:
    """Baggage as well."""

    @module(imports=[client_module(LastComponent)], provides=[RecordingChannel])
    class Client: ...

    settings = msgspec.structs.replace(HERMETIC, registry="static:last-component=recording(http://last)")
    tracer = recorded.provider.get_tracer("application")
    with BlockingMesh(Client, settings=settings) as mesh, tracer.start_as_current_span("script"):
        last = mesh.get_service(Last)
        token = context.attach(baggage.set_baggage("user", "7"))
        sent = blocking(last.told)()
        context.detach(token)
    assert recorded.tree() == ["INTERNAL script", "  CLIENT last/told", "    CLIENT last/told attempt"]
    assert sent[BAGGAGE] == "user=7"
    assert sent[TRACEPARENT].split("-")[2] == f"{recorded.spans[2].context.span_id:016x}"


async def test_spans_of_the_application_are_parents(recorded: Recorded) -> None:
    """Those around a call, and those within an implementation, are where they belong."""
    tracer = recorded.provider.get_tracer("application")
    async with relay_in_process() as mesh:
        middle = await mesh.get_service(Middle)
        with tracer.start_as_current_span("outside"):
            await middle.ask()
    assert recorded.tree() == ["INTERNAL outside", "  INTERNAL middle/ask", "    INTERNAL last/told"]


async def test_a_retry_has_an_attempt_of_its_own(recorded: Recorded) -> None:
    """The span of the call says who was asked last, and how often it was sent."""
    faults = Faults()
    async with relay("dispatch-msgpack", faults=faults, instances=2) as mesh:
        middle = await mesh.get_service(Middle)
        faults.then(Fault.REFUSE)
        await middle.ask()
    first, second = [span for span in recorded.spans if span.name == "middle/ask attempt"]
    assert first.status.status_code is StatusCode.ERROR
    assert first.attributes
    assert second.attributes
    assert first.attributes["error.type"] == first.attributes["rpc.response.status_code"] == "unavailable"
    assert first.attributes["meshcore.attempt.outcome"] == "unavailable"
    assert (second.attributes["meshcore.attempt"], second.attributes["meshcore.attempt.kind"]) == (2, "retry")
    assert first.attributes["network.peer.address"] != second.attributes["network.peer.address"]
    call = recorded.named("middle/ask", SpanKind.CLIENT)
    assert call.status.status_code is StatusCode.UNSET
    assert call.attributes is not None
    assert call.attributes["meshcore.attempts"] == 2
    assert call.attributes["network.peer.address"] == second.attributes["network.peer.address"]
    assert {span.parent.span_id for span in (first, second) if span.parent} == {call.context.span_id}


async def test_a_hedge_has_an_attempt_of_its_own(recorded: Recorded) -> None:
    """It belongs to its own call, though a timer has sent it that all calls share."""
    faults = Faults()
    async with relay("dispatch-msgpack", faults=faults, instances=2) as mesh:
        middle = await mesh.get_service(Middle)
        for _ in range(3):
            with pytest.raises(UnfitError):
                await middle.fail("declared")
        faults.latency = 60.0
        hung = asyncio.create_task(middle.fail("declared"))
        while len(faults.happened) < 4:
            await asyncio.sleep(0)
        faults.latency = 0.0
        with pytest.raises(UnfitError):
            await hung
    last = recorded.spans[-1]
    assert last.kind is SpanKind.SERVER
    hedges = [span for span in recorded.spans if (span.attributes or {}).get("meshcore.attempt.kind") == "hedge"]
    assert len(hedges) == 1
    (hedge,) = hedges
    calls = {span.context.span_id: span for span in recorded.spans if span.name == "middle/fail"}
    assert hedge.parent is not None
    assert (calls[hedge.parent.span_id].attributes or {})["meshcore.attempts"] == 2
    assert last.parent is not None
    assert last.parent.span_id == hedge.context.span_id


FAILURES = [
    ("declared", StatusCode.ERROR, StatusCode.UNSET, ("failed_precondition", "UnfitError")),
    ("refused", StatusCode.ERROR, StatusCode.UNSET, ("not_found", "not_found")),
    ("crash", StatusCode.ERROR, StatusCode.ERROR, ("internal", "internal")),
    ("late", StatusCode.ERROR, StatusCode.ERROR, ("deadline_exceeded", "deadline_exceeded")),
]


async def test_how_calls_fail(recorded: Recorded) -> None:
    """A server's span has an error only if the server is the reason; a traceback only where callers get none."""
    async with relay("stream-msgpack") as mesh:
        middle = await mesh.get_service(Middle)
        for how, *_ in FAILURES:
            policy = Policy(timeout=0.3 if how == "late" else 5.0, attempts=1)
            with pytest.raises(Exception):  # noqa: B017, PT011 - of many kinds
                await with_policy(middle, policy).fail(how)
    calls = [span for span in recorded.spans if span.name == "middle/fail" and span.kind is SpanKind.CLIENT]
    servers = [span for span in recorded.spans if span.kind is SpanKind.SERVER]
    for call, served, (how, client, server, kind) in zip(calls, servers, FAILURES, strict=True):
        assert (call.status.status_code, served.status.status_code) == (client, server)
        assert call.attributes
        assert served.attributes
        assert (call.attributes["rpc.response.status_code"], call.attributes["error.type"]) == kind
        assert served.attributes["rpc.response.status_code"] == kind[0]
        assert [event.name for event in served.events] == (["exception"] if how == "crash" else [])
        assert served.attributes["error.type"] == ("ValueError" if how == "crash" else kind[1])


@pytest.mark.parametrize("over", ["dispatch-json", "rest", "stream-msgpack", "local"])
async def test_a_stream_that_is_left_early_ends_its_spans(
    over: str, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no error, and OpenTelemetry does not complain of a context that it cannot leave."""
    caplog.set_level(logging.DEBUG, "opentelemetry")
    if over == "local":
        async with relay_in_process() as local:
            await _leave_early(await local.get_service(Middle), recorded, 1)
    else:
        async with relay(over) as mesh:
            await _leave_early(await mesh.get_service(Middle), recorded, 3)
    assert not caplog.records
    assert {span.status.status_code for span in recorded.spans} == {StatusCode.UNSET}
    assert {(span.attributes or {})["rpc.response.status_code"] for span in recorded.spans} == {"canceled"}


async def _leave_early(middle: Middle, recorded: Recorded, spans: int) -> None:
    async for number in middle.endless():
        if number == 3:
            break
    async with asyncio.timeout(10):
        while len(recorded.spans) < spans:
            await asyncio.sleep(0.01)


async def test_a_stream_has_its_spans_for_its_whole_life(recorded: Recorded) -> None:
    """They begin with the first item that is asked for, and end with the last one."""
    async with relay("stream-msgpack") as mesh:
        stream = aiter((await mesh.get_service(Middle)).ask_twice())
        await anext(stream)
        assert "middle/ask_twice" not in {span.name for span in recorded.spans}
        assert [item async for item in stream]
    assert [span.name for span in recorded.spans].count("middle/ask_twice") == 2


@pytest.mark.parametrize("sampler", [ParentBased(ALWAYS_OFF), ALWAYS_OFF])
async def test_what_is_not_sampled_records_nothing_and_is_passed_on(sampler: Sampler) -> None:
    """All hops see the same trace, and that it is not sampled; also if the sampler looks at each of them."""
    found = Recorded()
    off = TracerProvider(sampler=sampler)
    off.add_span_processor(SimpleSpanProcessor(found.exporter))
    MeshInstrumentor().instrument(tracer_provider=off)
    try:
        async with relay("dispatch-json") as mesh:
            middle = await mesh.get_service(Middle)
            told = [each async for each in middle.ask_twice()]
    finally:
        MeshInstrumentor().uninstrument()
    assert not found.spans
    assert len({each[TRACEPARENT].split("-")[1] for each in told}) == 1
    assert not {int(each[TRACEPARENT].split("-")[3]) & 1 for each in told} - {0}


async def test_other_propagators_are_asked(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that `OTEL_PROPAGATORS` names."""

    class Plain(CompositePropagator):
        """Under names of its own."""

        @property
        def fields(self) -> set[str]:
            return {"x-trace"}

        def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
            found = trace.get_current_span(context).get_span_context()
            setter.set(carrier, "X-Trace", f"{found.trace_id:x}:{found.span_id:x}")

        def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
            trace_id, _, span_id = carrier.get("x-trace", "0:0").partition(":")
            found = trace.SpanContext(
                int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(1)
            )
            return trace.set_span_in_context(trace.NonRecordingSpan(found))

    monkeypatch.setattr(propagate, "propagator", Plain([]))
    monkeypatch.setattr(propagate, "get_global_textmap", lambda: propagate.propagator)
    MeshInstrumentor().instrument(tracer_provider=recorded.provider)
    async with relay("dispatch-json") as mesh:
        assert await (await mesh.get_service(Middle)).ask() == {}
    assert recorded.tree() == SPANS


async def test_the_setting_composes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With OpenTelemetry's global provider."""
    found = Recorded()
    monkeypatch.setattr(trace, "get_tracer", lambda *arguments: found.provider.get_tracer("meshcore"))
    async with relay("dispatch-json", msgspec.structs.replace(HERMETIC, traces="opentelemetry")) as mesh:
        await (await mesh.get_service(Middle)).ask()
    assert found.tree() == SPANS
