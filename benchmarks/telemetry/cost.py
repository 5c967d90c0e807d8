"""What counting takes of a call between two processes: on and off in turn, in the same processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.calls.wire import MANY, Candidate, Plan, by_mesh, turn
from benchmarks.load import Slice
from benchmarks.telemetry import switch

_NEVER_REFUSED = {"adaptive_limit": "false"}
"""A machine that does something else, too, would let the server refuse calls."""

PAIRS = 4
"""In a turn of other sections: what else the machine does changes less within a short pair."""

MODULE = "benchmarks.telemetry.switch:SwitchedModule"


@dataclass
class Cost:
    """What was found for one channel.

    Attributes:
        on: the turns with counting.
        off: those without, each beside one of the others.
    """

    on: list[Slice]
    off: list[Slice]

    @property
    def percent(self) -> float:
        """CPU time of client and server that counting adds to a call: the median of the pairs."""
        return 100 * (median(_cpu(on) / _cpu(off) for on, off in zip(self.on, self.off, strict=True)) - 1)

    @property
    def microseconds(self) -> float:
        """Of a call without counting, both sides."""
        return 1e6 * median(map(_cpu, self.off))


async def costs(plan: Plan, notes: list[str], channels: Sequence[str]) -> dict[str, Cost]:
    """Measure each channel."""
    async with by_mesh(plan, notes, channels, _NEVER_REFUSED, MODULE) as candidates:
        found = {name: Cost([], []) for name in candidates}
        for number in range(-1, PAIRS * plan.rounds):  # the first round warms up, and does not count
            for name, candidate in candidates.items():
                pair = {
                    on: await _turn(candidate, plan.seconds / PAIRS, on=on)
                    for on in ((True, False), (False, True))[number % 2]
                }
                if number >= 0:
                    found[name].on.append(pair[True])
                    found[name].off.append(pair[False])
    return found


async def _turn(candidate: Candidate, seconds: float, *, on: bool) -> Slice:
    switch.turn(on=on)
    os.kill(candidate.server.pid, signal.SIGUSR2 if on else signal.SIGUSR1)
    await candidate.call()  # it is handled before the server takes this call
    try:
        return await turn(candidate, MANY, seconds)
    finally:
        switch.turn(on=True)


def _cpu(part: Slice) -> float:
    return (part.client + part.server) / len(part.times)
