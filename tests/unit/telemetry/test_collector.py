"""Our metrics in a registry of prometheus_client, and our texts as its parsers read them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from meshcore.core.attempt import Attempt
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.telemetry.collector import MeshCollector
from meshcore.telemetry.exposition import expose
from meshcore.telemetry.families import FAMILIES, LIMIT
from meshcore.telemetry.recorder import Recorder, SeenDestination, SeenInstance
from meshcore.telemetry.snapshot import Snapshot, snapshot

METHOD = Method("shop", "order", (), None, is_async=True)


class Counted:
    """A mesh that has made two calls, and served one."""

    def __init__(self) -> None:
        recorder = self.recorder = Recorder()
        recorder.client("orders")[METHOD].succeed(0.02, [Attempt("a", "rest", 0.0, 0.02, "ok")])
        recorder.client("orders")[METHOD].failed(CommunicationError(Code.UNAVAILABLE, ""), METHOD, 20.0, [])
        recorder.served.by_caller["web"][METHOD].ok.observe(1.0)
        recorder.gauges[LIMIT.name] = lambda: 12.5
        recorder.destinations = lambda: [SeenDestination("orders", 1, 2, (SeenInstance(id="a"),))]

    def metrics(self) -> Snapshot:
        return snapshot(self.recorder)


class Stopped:
    def metrics(self) -> Snapshot:
        raise LocalError(Code.FAILED_PRECONDITION, "this mesh has stopped")


def samples(families):
    """All samples, without labels that are empty."""
    return {
        (each.name, tuple(sorted((name, value) for name, value in each.labels.items() if value)), each.value)
        for family in families
        for each in family.samples
    }


def test_the_registry_shows_what_our_own_text_shows():
    """Sample for sample, read by the parsers of prometheus_client: of its format, and of OpenMetrics."""
    counted = Counted()
    registry = CollectorRegistry()
    registry.register(MeshCollector(counted))
    shown = samples(read_text(generate_latest(registry).decode()))
    assert len(shown) > 50
    assert samples(read_text(expose(counted.metrics(), openmetrics=False))) == shown
    assert samples(read_openmetrics(expose(counted.metrics(), openmetrics=True))) == shown


def test_a_mesh_that_does_not_run_has_no_numbers():
    """And the registry, which may have others, still answers. It knows all names from the start."""
    registry = CollectorRegistry()
    collector = MeshCollector(Stopped())
    registry.register(collector)
    assert generate_latest(registry) == b""
    assert [metric.name for metric in collector.describe()] == [family.name for family in FAMILIES]
