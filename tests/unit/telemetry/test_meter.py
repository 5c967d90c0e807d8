"""What OpenTelemetry's meter is told."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric

from meshcore.core.errors import MeshError
from meshcore.telemetry.histogram import EXPOSED
from meshcore.telemetry.layers import meter_of
from meshcore.telemetry.opentelemetry.instrumentor import MeshInstrumentor
from meshcore.testing import Fault, Faults
from tests.support.relay import HERMETIC, Middle, UnfitError, relay
from tests.unit.telemetry.golden_names import METER


class Read:
    """What a reader of the SDK collects."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def metrics(self) -> dict[str, Metric]:
        """All of them, by name."""
        found = self.reader.get_metrics_data()
        if found is None:
            return {}
        (resource,) = found.resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.name == "meshcore"
        return {metric.name: metric for metric in scope.metrics}

    def points(self, name: str) -> dict[tuple[Any, ...], Any]:
        """The points of a metric, by the values of their attributes."""
        metric = self.metrics().get(name)
        points = metric.data.data_points if metric is not None else ()
        return {tuple((point.attributes or {}).values()): point for point in points}


@pytest.fixture
def read() -> Generator[Read]:
    """All meshes that start in the test are read here."""
    found = Read()
    MeshInstrumentor().instrument(meter_provider=found.provider)
    yield found
    MeshInstrumentor().uninstrument()
    found.provider.shutdown()


async def test_the_names(read: Read) -> None:
    """Of all that a mesh counts. There is no concurrency limit here."""
    async with relay("stream-msgpack") as mesh:
        middle = await mesh.get_service(Middle)
        await middle.ask()
        async for _ in middle.ask_twice():
            pass
        found = read.metrics()
    told = set()
    for metric in found.values():
        names = tuple(metric.data.data_points[0].attributes or ())
        told.add((type(metric.data).__name__, metric.name, metric.unit or "-", *names))
        assert (metric.description or "").endswith(".")
    assert told | {("Histogram", "meshcore.event_loop.lag", "s")} == METER


async def test_the_numbers_are_those_of_the_mesh(read: Read) -> None:
    """Successes and failures, each once, on both sides; and nothing falls when the mesh has ended."""
    faults = Faults()
    async with relay("dispatch-msgpack", faults=faults, instances=2) as mesh:
        middle = await mesh.get_service(Middle)
        faults.then(Fault.REFUSE)
        await middle.ask()
        for how, error in (("declared", UnfitError), ("refused", MeshError)):
            with pytest.raises(error):
                await middle.fail(how)
        during = _numbers(read)
    assert during == _numbers(read)
    assert during["client"] == {
        ("meshcore", "middle/ask", "ok", "middle-component"): 1,
        ("meshcore", "last/told", "ok", "last-component"): 1,
        ("meshcore", "middle/fail", "failed_precondition", "UnfitError", "middle-component"): 1,
        ("meshcore", "middle/fail", "not_found", "not_found", "middle-component"): 1,
    }
    assert during["server"] == {  # a failure that its caller is the reason of has no type
        ("meshcore", "middle/ask", "ok", "middle-component"): 1,
        ("meshcore", "last/told", "ok", "last-component"): 1,
        ("meshcore", "middle/fail", "failed_precondition", "middle-component"): 1,
        ("meshcore", "middle/fail", "not_found", "middle-component"): 1,
    }
    assert during["attempts"] == {
        ("middle/ask", "middle-component", "unavailable"): 1,
        ("middle/ask", "middle-component", "ok"): 1,
        ("last/told", "last-component", "ok"): 1,
        ("middle/fail", "middle-component", "UnfitError"): 1,
        ("middle/fail", "middle-component", "not_found"): 1,
    }
    assert during["retries"][("middle/ask", "middle-component")] == 1


def _numbers(read: Read) -> dict[str, dict[tuple[Any, ...], float]]:
    durations = {side: read.points(f"rpc.{side}.call.duration") for side in ("client", "server")}
    for points in durations.values():
        for point in points.values():
            assert isinstance(point, HistogramDataPoint)
            assert tuple(point.explicit_bounds) == EXPOSED
            assert point.sum > 0
    found = {side: {key: point.count for key, point in points.items()} for side, points in durations.items()}
    for name in ("attempts", "retries"):
        found[name] = {key: point.value for key, point in read.points(f"meshcore.client.{name}").items()}
    return found


async def test_another_thread_may_collect_while_meshes_come_and_go(read: Read) -> None:
    """As the SDK's does. No counter falls, and nobody waits for anybody for ever."""
    stop, counts = threading.Event(), list[float]()

    def collect() -> None:
        while not stop.is_set():
            counts.append(sum(point.value for point in read.points("meshcore.client.attempts").values()))

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for _ in range(3):
            async with relay("dispatch-msgpack") as mesh:
                await (await mesh.get_service(Middle)).ask()
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    counts.append(sum(point.value for point in read.points("meshcore.client.attempts").values()))
    assert counts == sorted(counts)
    assert counts[-1] == 6


async def test_the_setting_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With OpenTelemetry's global provider."""
    read = Read()
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: read.provider)
    async with relay("dispatch-msgpack", msgspec.structs.replace(HERMETIC, meter="opentelemetry")) as mesh:
        await (await mesh.get_service(Middle)).ask()
    assert read.points("rpc.client.call.duration").keys() == {
        ("meshcore", "middle/ask", "ok", "middle-component"),
        ("meshcore", "last/told", "ok", "last-component"),
    }
    read.provider.shutdown()


def test_without_the_setting_nobody_is_told() -> None:
    """The series are the plain ones, so it costs nothing."""
    plain = meter_of("")
    assert {plain.series.client.__name__, plain.series.served.__name__} == {"ClientCalls", "Calls"}
