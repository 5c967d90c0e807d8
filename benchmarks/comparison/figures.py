"""What was measured, as figures: medians, and between which quartiles the rounds were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median, quantiles

import msgspec

from benchmarks.comparison.measure import Effort, Load, Measured
from benchmarks.comparison.turn import Turn


class Spread(msgspec.Struct, frozen=True):
    """A figure of several rounds.

    Attributes:
        median: of the rounds.
        low: the first quartile.
        high: the third quartile.
    """

    median: float
    low: float
    high: float


class Result(msgspec.Struct, frozen=True):
    """A candidate under one load. Times in microseconds; of a stream, per item.

    Attributes:
        workload: what a call carries.
        callers: how many call at once.
        p50: the median call.
        p99: of each turn.
        rate: calls per second; of a stream, items.
        client: CPU of the client process per call.
        server: CPU of the server process per call, with those that it started.
        cpu: of both.
    """

    workload: str
    callers: int
    p50: Spread
    p99: Spread
    rate: Spread
    client: Spread
    server: Spread
    cpu: Spread


class Subject(msgspec.Struct, frozen=True):
    """A candidate.

    Attributes:
        peer: whose it is.
        name: as the table says it.
        results: under each load that it can.
        client_memory: the most that the client process had, in MB.
        server_memory: the most that the server process had, with those that it started, in MB.
    """

    peer: str
    name: str
    results: list[Result]
    client_memory: float
    server_memory: float

    def under(self, workload: str, callers: int) -> Result | None:
        """The result under one load."""
        return next((each for each in self.results if (each.workload, each.callers) == (workload, callers)), None)


class Comparison(msgspec.Struct, frozen=True):
    """All candidates of one run.

    Attributes:
        rounds: of turns.
        seconds: of a turn.
        items: of a stream.
        versions: of the packages of each peer.
        subjects: the candidates.
    """

    rounds: int
    seconds: float
    items: int
    versions: dict[str, dict[str, str]]
    subjects: list[Subject]


def comparison(measured: Iterable[Measured], effort: Effort, versions: dict[str, dict[str, str]]) -> Comparison:
    """The figures of a run."""
    return Comparison(effort.rounds, effort.seconds, effort.items, versions, [_subject(each) for each in measured])


def spread(values: Sequence[float]) -> Spread:
    """The median of some values and their quartiles; of a single one, that."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


def ratio(over: Sequence[Turn], under: Sequence[Turn], of: Callable[[Turn], float]) -> float:
    """The median of the rounds' ratios: what disturbs the machine for longer than a round disturbs both alike."""
    return median(of(above) / of(below) for above, below in zip(over, under, strict=True))


def _subject(of: Measured) -> Subject:
    results = [_result(load, turns) for load, turns in of.turns.items()]
    return Subject(of.peer, of.name, results, of.client_memory / 1e6, of.server_memory / 1e6)


def _result(load: Load, turns: Sequence[Turn]) -> Result:
    def us(of: Callable[[Turn], float]) -> Spread:
        return spread([of(turn) * 1e6 for turn in turns])

    return Result(
        load.workload,
        load.callers,
        p50=us(lambda turn: turn.p50),
        p99=us(lambda turn: turn.p99),
        rate=spread([turn.rate for turn in turns]),
        client=us(lambda turn: turn.client / turn.calls),
        server=us(lambda turn: turn.server / turn.calls),
        cpu=us(lambda turn: turn.cpu),
    )
