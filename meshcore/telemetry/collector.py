"""A bridge to `prometheus_client`, for processes that expose a registry of theirs. Needs the extra `prometheus`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from meshcore.core.errors import LocalError
from meshcore.telemetry.families import FAMILIES, Family, Kind
from meshcore.telemetry.histogram import EXPOSED, cumulated
from meshcore.telemetry.snapshot import Sample, Snapshot, counts_of


class Counting(Protocol):
    """What counts, such as a `Mesh`."""

    def metrics(self) -> Snapshot:
        """What was counted until now."""
        ...


class MeshCollector(Collector):
    """Shows the metrics of a mesh in a registry: `REGISTRY.register(MeshCollector(mesh))`.

    The numbers are read when the registry is, in whatever thread. While the mesh does not run, there are none.

    Args:
        mesh: whose metrics these are.
    """

    def __init__(self, mesh: Counting) -> None:
        self._mesh = mesh

    def describe(self) -> list[Metric]:
        """All families, without samples: so that a registry knows their names before the mesh runs."""
        return [_family(family, []) for family in FAMILIES]

    def collect(self) -> Iterator[Metric]:
        """The families, with their samples."""
        try:
            counted = self._mesh.metrics()
        except LocalError:  # it does not run, or not any more
            return
        for family in FAMILIES:
            if samples := counted.get(family.name):
                yield _family(family, samples)


def _family(family: Family, samples: list[Sample]) -> Metric:
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for sample in samples:
            counts = counts_of(sample)
            buckets = [(str(bound), float(below)) for bound, below in zip(EXPOSED, cumulated(counts), strict=True)]
            histogram.add_metric(sample.labels, [*buckets, ("+Inf", float(sum(counts)))], sample.value)
        return histogram
    cls = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = cls(family.name, family.help, labels=family.labels)
    for sample in samples:
        metric.add_metric(sample.labels, sample.value)
    return metric
