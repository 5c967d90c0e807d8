"""What a process has counted until now, as data that can be sent, kept and added up."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from meshcore.telemetry import families as of
from meshcore.telemetry.calls import Calls
from meshcore.telemetry.conventions import OK, SERVER_FAULTS, SYSTEM
from meshcore.telemetry.families import Family, Kind
from meshcore.telemetry.histogram import Histogram, packed, unpacked
from meshcore.telemetry.recorder import INSTANCE_STATES, Recorder

Labels: TypeAlias = tuple[str, ...]
"""The values of a family's labels, in their order."""


class Sample(msgspec.Struct, array_like=True):
    """One number, or one histogram.

    Attributes:
        labels: their values.
        value: of a counter or a gauge; of a histogram the sum of what was observed.
        counts: of a histogram, the bytes of its array; empty for a number.
    """

    labels: Labels
    value: float
    counts: bytes = b""


Snapshot: TypeAlias = dict[str, list[Sample]]
"""The samples by the name of their family."""


def snapshot(recorder: Recorder) -> Snapshot:
    """What a mesh has counted until now."""
    made, served = list(recorder.made()), [calls for _, calls in recorder.served]
    found: dict[Family, list[Sample]] = {
        of.SERVER_DURATION: _added(sample for each in served for sample in _durations(each, client=False)),
        of.CLIENT_DURATION: [sample for each in made for sample in _durations(each, client=True)],
        of.ATTEMPTS: [
            Sample((each.method, each.component, outcome), count)
            for each in made
            for outcome, count in sorted(each.outcomes().items())
            if count
        ],
        of.RETRIES: [Sample((each.method, each.component), each.retries) for each in made],
        of.HEDGES: [Sample((each.method, each.component), each.hedges) for each in made],
        of.CLIENT_ITEMS: _items(made),
        of.SERVER_ITEMS: _items(served),
        of.REFUSALS: [Sample((reason,), count) for reason, count in sorted(recorder.served.refused.items())],
        of.DENIALS: [Sample(labels, count) for labels, count in sorted(recorder.served.denied.items())],
        of.RULES_REFUSED: [Sample((), recorder.served.rules_refused)] if recorder.served.rules_refused else [],
        of.LAG: [_histogram((), recorder.lag)],
    }
    for each in recorder.destinations():
        label = (each.component,)
        found.setdefault(of.EJECTIONS, []).append(Sample(label, each.ejections))
        found.setdefault(of.BUDGET_REFUSALS, []).append(Sample(label, each.budget_refusals))
        pending = sum(instance.pending for instance in each.instances)
        found.setdefault(of.CLIENT_PENDING, []).append(Sample(label, pending))
        states = Counter(instance.state for instance in each.instances)
        found.setdefault(of.INSTANCES, []).extend(
            Sample((each.component, state), states[state]) for state in INSTANCE_STATES
        )
    named = {family.name: samples for family, samples in found.items() if samples}
    for name, read in recorder.gauges.items():
        if (value := read()) is not None:
            named[name] = [Sample((), value)]
    return named


def _durations(calls: Calls, *, client: bool) -> Iterator[Sample]:
    if calls.ok.count:
        yield _histogram(labels_of(calls, OK, "", client=client), calls.ok)
    for (status, kind), failed in calls.failures.items():
        yield _histogram(labels_of(calls, status, kind, client=client), failed)


def labels_of(calls: Calls, status: str, kind: str, *, client: bool) -> Labels:
    """The labels of the durations of calls that ended in one way.

    Args:
        calls: of the method.
        status: `ok`, or the code.
        kind: the type of the error. A server shows that of its own faults only.
        client: on which side.
    """
    shown = kind if client or status in SERVER_FAULTS else ""
    return (SYSTEM, calls.method, status, shown, calls.component)


def _items(series: Iterable[Calls]) -> list[Sample]:
    return _added(
        Sample((each.method, each.component, direction), count)
        for each in series
        for direction, count in (("sent", each.sent), ("received", each.received))
        if count
    )


def _histogram(labels: Labels, histogram: Histogram) -> Sample:
    return Sample(labels, histogram.sum, histogram.counts.tobytes())


def total(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sum of what several processes have counted. Gauges are added up, too, except those whose least counts."""
    samples: dict[str, list[Sample]] = {}
    for each in snapshots:
        for name, of_family in each.items():
            samples.setdefault(name, []).extend(of_family)
    return {name: _added(of_family, least=of.BY_NAME[name].least) for name, of_family in samples.items()}


def counters_of(counted: Snapshot) -> Snapshot:
    """What of it stays when its process has ended: all but gauges."""
    return {name: samples for name, samples in counted.items() if of.BY_NAME[name].kind is not Kind.GAUGE}


def counts_of(sample: Sample) -> Sequence[int]:
    """The buckets of a histogram."""
    counts = array("Q")
    counts.frombytes(sample.counts)
    return counts


def _added(samples: Iterable[Sample], *, least: bool = False) -> list[Sample]:
    """One sample for each set of labels: the sum, or the least."""
    found: dict[Labels, list[Sample]] = {}
    for each in samples:
        found.setdefault(each.labels, []).append(each)
    if least:
        return [min(same, key=lambda sample: sample.value) for same in found.values()]
    return [same[0] if len(same) == 1 else _sum(same) for same in found.values()]


def _sum(samples: Sequence[Sample]) -> Sample:
    first = samples[0]
    counts = unpacked(sum(packed(each.counts) for each in samples)).tobytes() if first.counts else b""
    return Sample(first.labels, sum(each.value for each in samples), counts)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


def encode(counted: Snapshot) -> bytes:
    """A snapshot as bytes, for other processes of this machine."""
    return _encoder.encode(counted)


def decode(data: bytes) -> Snapshot:
    """The snapshot in bytes that `encode` made.

    Raises:
        msgspec.DecodeError: they are others.
    """
    found: Snapshot = _decoder.decode(data)
    return found
