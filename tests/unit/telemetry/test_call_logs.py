"""What lines of the log say of the call that they were written in."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import math
from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider

from meshcore import Call, MeshError, Policy, with_policy
from meshcore.core.description import Method
from meshcore.core.policy import Rules
from meshcore.serve.logs import JsonFormatter
from meshcore.telemetry.logs.call_fields import CALL_FIELDS, CallFields
from meshcore.telemetry.logs.slow_calls import SlowCalls, SlowLines
from meshcore.telemetry.opentelemetry.instrumentor import MeshInstrumentor
from meshcore.telemetry.tables import ClientTable
from meshcore.testing import Faults
from tests.support.relay import HERMETIC, Middle, relay, relay_in_process
from tests.unit.telemetry.test_propagation import TRACE, within

TRACE_ID = TRACE["traceparent"].split("-")[1]


class Lines:
    """The lines that were written, as JSON."""

    def __init__(self) -> None:
        self.handler = logging.StreamHandler(io.StringIO())
        self.handler.setFormatter(JsonFormatter())
        self.handler.addFilter(CallFields())

    def __call__(self, logger: str) -> list[dict[str, Any]]:
        found = map(json.loads, self.handler.stream.getvalue().splitlines())
        return [each for each in found if each["logger"] == logger]


@pytest.fixture
def lines() -> Generator[Lines]:
    """Everything that is logged in the test."""
    found = Lines()
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(found.handler)
    yield found
    log.removeHandler(found.handler)
    log.setLevel(level)


async def test_a_line_within_a_call_says_which_it_is(lines: Lines) -> None:
    """On the loop, in a thread, and in a call within the process that is made for it; each request has its own id."""
    async with relay("stream-msgpack") as mesh:
        middle = await mesh.get_service(Middle)
        with within(TRACE):
            for how in ("loop", "thread"):
                await middle.log(how)
        await middle.log("nested")
    on_loop, in_thread, outer, inner = lines("tests.relay")
    expected = {"method": "middle.log", "component": "middle-component", "caller": "memory", "trace_id": TRACE_ID}
    for found in (on_loop, in_thread):
        assert {name: found[name] for name in expected} == expected
        assert found["span_id"] == TRACE["traceparent"].split("-")[2]
    assert on_loop["call"] != in_thread["call"]
    assert (outer["method"], inner["method"]) == ("middle.log", "last.told")
    assert outer["call"] == inner["call"]
    assert inner["caller"] == "local"
    assert "trace_id" not in outer


async def test_a_line_without_a_call_says_nothing_of_one(lines: Lines) -> None:
    """For formats that name the attributes, there is a text in their place."""
    logging.getLogger("tests.relay").info("alone")
    assert not lines("tests.relay")[0].keys() & set(CALL_FIELDS)
    record = logging.makeLogRecord({"method": "of its own"})
    assert CallFields("-").filter(record)
    assert logging.Formatter("%(method)s %(call)s %(trace_id)s").format(record) == "of its own - -"


async def test_the_span_of_the_application_counts(lines: Lines) -> None:
    """It is nearer than that of the caller."""
    tracer = TracerProvider().get_tracer("application")
    with within(TRACE), tracer.start_as_current_span("inside") as span:
        logging.getLogger("tests.relay").info("inside")
    (found,) = lines("tests.relay")
    assert found["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert found["span_id"] == f"{span.get_span_context().span_id:016x}"


async def test_a_caller_is_told_the_id_that_the_lines_have(lines: Lines) -> None:
    """So all of them are found, and not only that of the error."""
    async with relay("dispatch-json") as mesh:
        middle = await mesh.get_service(Middle)
        with pytest.raises(MeshError) as caught:
            await middle.fail("crash")
    assert lines("meshcore.server.reports")[0]["call"] == caught.value.details["call"]
    assert lines("tests.relay")[0]["call"] == caught.value.details["call"]


@pytest.mark.parametrize("over", ["dispatch-msgpack", "stream-msgpack"])
async def test_the_access_log_has_a_line_for_each_call(over: str, lines: Lines) -> None:
    """With how it ended; a stream has one when it ends. Arguments are not there, and each call has an id of its own."""
    settings = msgspec.structs.replace(HERMETIC, access_log=True)
    async with relay(over, settings) as mesh:
        middle = await mesh.get_service(Middle)
        await middle.log("loop")
        for how in ("declared", "refused", "crash"):
            with pytest.raises(Exception):  # noqa: B017, PT011 - of many kinds
                await middle.fail(how)
        async for _ in middle.endless():
            break
        async with asyncio.timeout(10):
            while len(lines("meshcore.access")) < 5:
                await asyncio.sleep(0.01)
    found = lines("meshcore.access")
    assert [(each["method"], each["outcome"]) for each in found] == [
        ("middle.log", "ok"),
        ("middle.fail", "UnfitError"),
        ("middle.fail", "not_found"),
        ("middle.fail", "internal"),
        ("middle.endless", "canceled"),
    ]
    assert [each["code"] for each in found] == ["ok", "failed_precondition", "not_found", "internal", "canceled"]
    assert len({each["call"] for each in found}) == 5
    assert found[0]["call"] == lines("tests.relay")[0]["call"]
    assert found[0]["seconds"] > 0
    assert "declared" not in json.dumps(found)
    assert not [each for each in lines("meshcore.access") if each["caller"] == "local"]


@pytest.mark.parametrize("traces", ["propagate", "begin"])
async def test_lines_that_are_written_after_a_call_have_its_fields(traces: str, lines: Lines) -> None:
    """Those of the access log and of errors: by them, they are found with what was logged within the call."""
    settings = msgspec.structs.replace(HERMETIC, access_log=True, traces=traces)
    async with relay("stream-msgpack", settings) as mesh:
        middle = await mesh.get_service(Middle)
        with within(TRACE if traces == "propagate" else {}), pytest.raises(MeshError):
            await middle.fail("crash")
    (within_it,), (error,), (access,) = map(lines, ("tests.relay", "meshcore.server.reports", "meshcore.access"))
    assert within_it["trace_id"] == TRACE_ID or traces == "begin"
    expected = {name: within_it[name] for name in CALL_FIELDS}
    for found in (error, access):
        assert {name: found.get(name) for name in CALL_FIELDS} == expected


async def test_lines_that_are_written_after_a_call_have_its_span(lines: Lines) -> None:
    """That of the server, if OpenTelemetry records one."""
    instrumentor = MeshInstrumentor()
    instrumentor.instrument(tracer_provider=TracerProvider())
    try:
        async with relay("dispatch-json", msgspec.structs.replace(HERMETIC, access_log=True)) as mesh:
            with pytest.raises(MeshError):
                await (await mesh.get_service(Middle)).fail("crash")
    finally:
        instrumentor.uninstrument()
    (within_it,), (error,), (access,) = map(lines, ("tests.relay", "meshcore.server.reports", "meshcore.access"))
    for found in (error, access):
        assert [found[name] for name in ("trace_id", "span_id")] == [within_it["trace_id"], within_it["span_id"]]


async def test_calls_within_a_process_are_not_in_the_access_log(lines: Lines) -> None:
    """It is about those who call this process."""
    async with relay_in_process(msgspec.structs.replace(HERMETIC, access_log=True)) as mesh:
        await (await mesh.get_service(Middle)).ask()
    assert not lines("meshcore.access")


async def test_a_slow_call_is_logged_with_its_attempts(lines: Lines) -> None:
    """What is slow for the policy, or for the method; not more than one line a second."""
    faults = Faults(latency=0.05)
    async with relay("dispatch-json", faults=faults) as mesh:
        middle = with_policy(await mesh.get_service(Middle), Policy(slow=0.01, timeout=7.0))
        await middle.ask()
        await middle.ask()
        (found,) = lines("meshcore.telemetry.logs.slow_calls")
        assert found["level"] == "WARNING"
        assert found["method"] == "middle.ask"
        assert found["seconds"] >= 0.05
        assert 0 <= found["queued"] < found["seconds"]
        assert 5 < found["left"] < 7
        (attempt,) = found["attempts"]
        assert (attempt["channel"], attempt["outcome"]) == ("dispatch-json", "ok")
        assert "a call of middle.ask took 0." in found["message"]


def test_without_a_policy_a_call_is_slow_beside_others_of_its_method(lines: Lines) -> None:
    """Five times the 99th percentile, and 0.1 s at least; what is left out is counted."""
    method = Method("shop", "order", (), None, is_async=True)
    calls = ClientTable("shop-component")
    slow = SlowCalls(calls, SlowLines())
    call = Call(method, deadline=1e6)

    def end(begun: float, now: float) -> None:
        calls[method].succeed(now - begun, [])
        slow.ended(call, begun, now)

    end(0.0, 50.0)  # nothing is known yet
    for at in range(1000):
        end(100 + at / 100, 100.03 + at / 100)
    end(113.5, 113.62)  # more than 0.1 s, but less than five times 0.03 s
    assert not lines("meshcore.telemetry.logs.slow_calls")
    for at in (113.9, 114.0, 114.1, 115.5):
        end(at, at + 0.5)
    slow.ended(msgspec.structs.replace(call, rules=Rules(slow=math.inf)), 500.0, 600.0)
    first, second = lines("meshcore.telemetry.logs.slow_calls")
    assert first["message"].startswith("a call of shop.order took 0.5 s, nearly all take less than 0.03")
    assert first["message"].endswith("no instance was asked")
    assert second["message"].endswith("(2 more since the last such line)")
    assert (first["seconds"], first["queued"], first["attempts"]) == (0.5, 0.5, [])
