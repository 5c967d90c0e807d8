"""What traces take of the CPU time of a call, client and server together: in memory, one way after the other."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from statistics import median

from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from benchmarks.calls.wire import MANY
from benchmarks.contract import bundle
from benchmarks.load import Calls
from benchmarks.served import ServedModule
from examples.orders.api import PricingService
from meshcore import Settings
from meshcore.core.context.current_call import ambient_trace
from meshcore.telemetry.layers import instrument
from meshcore.telemetry.opentelemetry.spans import span_traces
from meshcore.telemetry.trace_context import begin_trace
from meshcore.testing import memory_mesh

NONE, PASSED, BEGUN, SPANS, PARENTS, ALL = (
    "no trace",
    "a trace is passed on",
    'traces = "begin"',
    "OpenTelemetry's SDK samples 1 %",
    "the same, the callers' traces are not sampled",
    "OpenTelemetry's SDK samples all",
)
_CALLS = 12
"""Of each caller in a turn."""


class _Dropped(InMemorySpanExporter):
    """Exports nothing: that is not what is measured."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - they are dropped
        """Drop them."""
        return SpanExportResult.SUCCESS


async def span_costs(channel: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds of a call each way, and their ratio to a call without a trace."""
    async with AsyncExitStack() as stack:

        async def served(traces: str, share: float = 0.0) -> Calls:
            if share:
                provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(share)))
                provider.add_span_processor(BatchSpanProcessor(_Dropped()))
                stack.callback(provider.shutdown)
                instrument(span_traces(provider))
            try:
                settings = Settings(registry="local:", traces=traces, adaptive_limit=False)
                mesh = await stack.enter_async_context(memory_mesh(ServedModule, channel=channel, settings=settings))
            finally:
                instrument(None)
            quote = (await mesh.get_service(PricingService)).quote
            return lambda: quote(item)

        item = bundle(0)
        plain, spans = await served("propagate"), await served("propagate", 0.01)
        ways: dict[str, tuple[Calls, Callable[[], object]]] = {
            NONE: (plain, _nothing),
            PASSED: (plain, _in_a_trace),
            BEGUN: (await served("begin"), _nothing),
            SPANS: (spans, _nothing),
            PARENTS: (spans, _in_a_span),
            ALL: (await served("propagate", 1.0), _nothing),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        names = list(ways)
        for number in range(-1, rounds):  # the first round warms up, and does not count
            for at in range(len(names)):
                name = names[(at + number) % len(names)]
                seconds = await _turn(*ways[name])
                if number >= 0:
                    found[name].append(seconds)
    return {
        name: (median(times), median(a / b for a, b in zip(times, found[NONE], strict=True)))
        for name, times in found.items()
    }


async def _turn(call: Calls, before: Callable[[], object]) -> float:
    async def work() -> None:
        for _ in range(_CALLS):
            before()
            await call()

    gc.collect()
    begun = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(MANY):
            group.create_task(work())
    return (time.process_time() - begun) / (MANY * _CALLS)


def _nothing() -> None:
    """The call is of no trace."""


def _in_a_trace() -> None:
    """The call is of a trace that no other is of."""
    ambient_trace.set(begin_trace())


def _in_a_span() -> None:
    """The call is made within a span that is not sampled."""
    ids = RandomIdGenerator()
    parent = trace.SpanContext(ids.generate_trace_id(), ids.generate_span_id(), is_remote=False)
    attach(trace.set_span_in_context(trace.NonRecordingSpan(parent)))
