"""Which runs are made, and what they are held to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from benchmarks.report import Goal
from benchmarks.simulation.run import Found
from benchmarks.simulation.scenario import ALL, Fault, Scenario, Variant

DEFAULT = Variant()
ROUND_ROBIN = Variant(balance="round-robin")
RANDOM = Variant(balance="random")
NO_EJECTION = Variant(ejection=False)
NO_RETRIES = Variant(retries=False, hedging=False)
NO_EJECTION_ROUND_ROBIN = Variant(balance="round-robin", ejection=False)
NO_HEDGING = Variant(hedging=False)
NO_SHEDDING = Variant(shedding=False)
WRITES = Variant(repeatable=False)


def _bare(variant: Variant) -> Variant:
    return msgspec.structs.replace(variant, ejection=False, retries=False, hedging=False, shedding=False)


BARE = _bare(DEFAULT)
BARE_ROUND_ROBIN = _bare(ROUND_ROBIN)
BARE_RANDOM = _bare(RANDOM)
BARE_FIRST = _bare(Variant(balance="first"))
ONLY_SHEDDING = Variant(ejection=False, retries=False, hedging=False)

Key = tuple[Scenario, Variant]

SLOWER_LOADS = (0.5, 0.8)
"""At 100 % the fleet without most of one instance has less to give than is asked: that is an overload."""

FAILING = Scenario(0.8, (Fault.FAILING,))
OVERLOAD = Scenario(1.2)

_P99, _SUCCESS, _AMPLIFICATION, _GOODPUT = 1.5, 0.999, 1.2, 0.9

_THOROUGH: dict[Scenario, tuple[Variant, ...]] = {
    Scenario(0.5): (DEFAULT, ROUND_ROBIN, RANDOM, BARE_ROUND_ROBIN, BARE_FIRST),
    Scenario(0.8): (DEFAULT, ROUND_ROBIN, RANDOM, BARE_ROUND_ROBIN),
    Scenario(0.5, (Fault.SLOW,)): (DEFAULT, NO_HEDGING, BARE, ROUND_ROBIN, BARE_ROUND_ROBIN, RANDOM, BARE_RANDOM),
    Scenario(0.8, (Fault.SLOW,)): (DEFAULT, NO_HEDGING, BARE, ROUND_ROBIN, BARE_ROUND_ROBIN, RANDOM, BARE_RANDOM),
    FAILING: (DEFAULT, NO_RETRIES, BARE, ROUND_ROBIN, NO_EJECTION_ROUND_ROBIN, BARE_ROUND_ROBIN, WRITES),
    Scenario(0.8, (Fault.FLAPPING,)): (
        DEFAULT,
        NO_RETRIES,
        BARE,
        ROUND_ROBIN,
        NO_EJECTION_ROUND_ROBIN,
        BARE_ROUND_ROBIN,
        WRITES,
    ),
    Scenario(0.8, (Fault.COLD,)): (DEFAULT, BARE, ROUND_ROBIN, BARE_ROUND_ROBIN),
    Scenario(0.5, ALL): (DEFAULT, NO_EJECTION, NO_HEDGING, BARE, ROUND_ROBIN, BARE_ROUND_ROBIN, WRITES),
    Scenario(0.8, ALL): (DEFAULT, NO_SHEDDING, BARE, BARE_ROUND_ROBIN),
    Scenario(1.0): (DEFAULT, ONLY_SHEDDING, NO_SHEDDING, BARE, BARE_ROUND_ROBIN),
    OVERLOAD: (DEFAULT, ONLY_SHEDDING, NO_SHEDDING, BARE, BARE_ROUND_ROBIN),
}

_QUICK: dict[Scenario, tuple[Variant, ...]] = {
    Scenario(0.8): (DEFAULT,),
    Scenario(0.8, (Fault.SLOW,)): (DEFAULT, ROUND_ROBIN),
    FAILING: (DEFAULT,),
    OVERLOAD: (DEFAULT, NO_SHEDDING),
}

THOROUGH_SECONDS, QUICK_SECONDS = 12.0, 4.0
"""Of virtual time, after the warm-up."""


def runs(*, quick: bool) -> Iterator[Key]:
    """What is run, in the order of the table."""
    for scenario, variants in (_QUICK if quick else _THOROUGH).items():
        for variant in variants:
            yield scenario, variant


def goals(found: Mapping[Key, Found]) -> Iterator[Goal]:
    """What is promised of what was run."""
    for load in SLOWER_LOADS:
        healthy, slow = found.get((Scenario(load), DEFAULT)), Scenario(load, (Fault.SLOW,))
        if healthy is not None:
            ratio = found[slow, DEFAULT].p99 / healthy.p99
            beside = found[slow, ROUND_ROBIN].p99 / healthy.p99
            text = f"p99 with {slow} to the healthy fleet's (round robin: {beside:.2f})"
            yield Goal(text, _P99, ratio)
            yield Goal(f"success with {slow}", _SUCCESS, found[slow, DEFAULT].success, at_least=True)
    failing = found[FAILING, DEFAULT]
    yield Goal(f"success with {FAILING}", _SUCCESS, failing.success, at_least=True)
    yield Goal(f"attempts per call with {FAILING}", _AMPLIFICATION, failing.amplification)
    without = found[OVERLOAD, NO_SHEDDING]
    text = f"goodput to capacity at load {OVERLOAD.load:.0%} (without limit: {without.goodput:.2f},"
    text += f" and half of the calls take {without.p50 * 1e3:.0f} ms or more)"
    yield Goal(text, _GOODPUT, found[OVERLOAD, DEFAULT].goodput, at_least=True)
