"""Tells OpenTelemetry's meter what a mesh counts, for those who push their metrics.

Counters and gauges are read from the recorder when they are collected. OpenTelemetry has no instrument of that kind for
histograms, so those are told each duration: only meshes that are asked for it have series that do.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from threading import Lock
from typing import TypeAlias
from weakref import WeakKeyDictionary

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from meshcore.core.attempt import Attempt
from meshcore.core.errors import LocalError
from meshcore.telemetry import conventions as names
from meshcore.telemetry import families as of
from meshcore.telemetry.calls import Calls, ClientCalls, Failures, Series
from meshcore.telemetry.families import FAMILIES, Family, Kind
from meshcore.telemetry.histogram import EXPOSED, Histogram
from meshcore.telemetry.layers import Meter
from meshcore.telemetry.snapshot import Snapshot, counters_of, labels_of, total

_Record: TypeAlias = Callable[[float, dict[str, str]], None]


def mesh_meter(provider: MeterProvider | None = None) -> Meter:
    """What makes the series of a mesh, and lets them be collected.

    Args:
        provider: of the meter; OpenTelemetry's global one by default.
    """
    provider = provider or metrics.get_meter_provider()
    instruments = _instruments.get(provider)
    if instruments is None:
        instruments = _instruments[provider] = _Instruments(provider)
    return Meter(instruments.series, instruments.read)


class _Instruments:
    """The instruments of a provider. All meshes of the process share them, one after the other, too."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = metrics.get_meter(names.SCOPE, version("meshcore-runtime"), provider, names.SCHEMA_URL)
        self._running: list[Callable[[], Snapshot]] = []
        self._ended: Snapshot = {}
        self._lock = Lock()
        self._snapshot: Snapshot = {}
        self._taken = frozenset(FAMILIES)
        record: dict[Family, _Record] = {}
        for family in FAMILIES:
            unit = "s" if family.unit else ""
            if family.kind is Kind.HISTOGRAM:
                record[family] = meter.create_histogram(
                    family.instrument, unit, family.help, explicit_bucket_boundaries_advisory=EXPOSED
                ).record
                continue
            observe = [partial(self._observe, family)]
            if family.kind is Kind.COUNTER:
                meter.create_observable_counter(family.instrument, observe, unit, family.help)
            else:
                meter.create_observable_gauge(family.instrument, observe, unit, family.help)
        self.series = Series(
            client=partial(_FedClientCalls, record[of.CLIENT_DURATION]),
            served=partial(_FedCalls, record[of.SERVER_DURATION]),
            lag=partial(_Fed, record[of.LAG], {}),
        )

    @contextmanager
    def read(self, snapshot: Callable[[], Snapshot]) -> Generator[None]:
        """Collect the numbers of a mesh while the context lasts. What it has counted stays, so that nothing falls."""
        with self._lock:
            self._running.append(snapshot)
        try:
            yield
        finally:
            last = counters_of(snapshot())
            with self._lock:
                self._running.remove(snapshot)
                self._ended = total([self._ended, last])

    def _observe(self, family: Family, _: CallbackOptions) -> Iterable[Observation]:
        # One snapshot for all instruments of a collection: when one asks again, the next has begun.
        if family in self._taken:
            self._taken = frozenset[Family]()
            self._snapshot = self._read()
        self._taken |= {family}
        samples = self._snapshot.get(family.name, ())
        return [Observation(sample.value, family.attributes_of(sample.labels)) for sample in samples]

    def _read(self) -> Snapshot:
        while True:
            with self._lock:  # not longer: a snapshot waits for an event loop, which may wait for the lock
                running, ended = tuple(self._running), self._ended
            try:
                return total([ended, *(snapshot() for snapshot in running)])
            except LocalError:  # a mesh has ended
                if running == tuple(self._running):  # with its event loop: what it has counted is not known any more
                    return counters_of(self._snapshot)


_instruments: WeakKeyDictionary[MeterProvider, _Instruments] = WeakKeyDictionary()


class _Fed(Histogram):
    """A histogram that also tells an instrument what it counts."""

    def __init__(self, record: _Record, attributes: dict[str, str]) -> None:
        super().__init__()
        self._record = record
        self._attributes = attributes

    def observe(self, seconds: float) -> None:
        super().observe(seconds)
        self._record(seconds, self._attributes)


class _FedFailures(_Fed, Failures):
    """One of calls that failed."""


class _FedCalls(Calls):
    """The calls of a method on its server."""

    __slots__ = ("_record",)

    def __init__(self, record: _Record, component: str, method: str) -> None:
        super().__init__(component, method)
        self._record = record
        labels = labels_of(self, names.OK, "", client=False)
        self.ok = _Fed(record, of.SERVER_DURATION.attributes_of(labels))

    def new_failures(self, status: str, kind: str) -> Failures:
        labels = labels_of(self, status, kind, client=False)
        return _FedFailures(self._record, of.SERVER_DURATION.attributes_of(labels))


class _FedClientCalls(ClientCalls):
    """The calls of a method on a client, which counts those that succeed without `observe`."""

    __slots__ = ("_ok", "_record")

    def __init__(self, record: _Record, component: str, method: str) -> None:
        super().__init__(component, method)
        self._record = record
        self._ok = of.CLIENT_DURATION.attributes_of(labels_of(self, names.OK, "", client=True))

    def succeed(self, seconds: float, trail: Sequence[Attempt]) -> None:
        super().succeed(seconds, trail)
        self._record(seconds, self._ok)

    def new_failures(self, status: str, kind: str) -> Failures:
        labels = labels_of(self, status, kind, client=True)
        return _FedFailures(self._record, of.CLIENT_DURATION.attributes_of(labels))
