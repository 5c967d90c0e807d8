"""`python -m benchmarks.simulation`: what the data plane does under stress, in virtual time.

Ten servers, five clients that call them at random times, and what may be the matter with a server. The clients run the
very code of production; only the channel and the servers behind it are simulated. The same seed gives the same table.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from benchmarks.simulation.plan import QUICK_SECONDS, THOROUGH_SECONDS, Key, goals, runs
from benchmarks.simulation.run import Found, simulate
from benchmarks.simulation.scenario import CLIENTS, INSTANCES, TIMEOUT
from benchmarks.simulation.server import CAPACITY, MEAN, WORKERS
from benchmarks.simulation.table import Row, render


def notes(seconds: float, seed: int) -> list[str]:
    """What the figures depend on."""
    fleet = (
        f"{INSTANCES} instances of {WORKERS} workers, {MEAN * 1e3:.0f} ms of work a call: {CAPACITY:.0f} calls/s each,"
        f" {CLIENTS} clients; timeout {TIMEOUT:g} s; {seconds:g} s of virtual time; seed {seed}."
    )
    return [
        fleet,
        "Calls are idempotent but where it says otherwise. Percentiles: of all calls, the failed ones and those that",
        "began before anybody knew what was the matter. Goodput: calls that succeeded, to what a healthy fleet can.",
    ]


def main() -> int:
    """Simulate, print, and say by the exit status whether a goal was missed, if that is asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description="what stress does")
    parser.add_argument("--quick", action="store_true", help="only what the goals are about, and less of it")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (default: %(default)s)")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw curves there, nothing else")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if a goal is missed")
    options = parser.parse_args()
    logging.getLogger("meshcore").setLevel(logging.CRITICAL)  # ejections are what is meant to happen here
    if options.pictures:
        from benchmarks.simulation.pictures import draw  # noqa: PLC0415 - needs the extra `pictures`

        draw(options.pictures, options.seed)
        return 0
    seconds = QUICK_SECONDS if options.quick else THOROUGH_SECONDS
    found: dict[Key, Found] = {}
    for scenario, variant in runs(quick=options.quick):
        print(f"simulating: {scenario}: {variant}", file=sys.stderr)
        found[scenario, variant] = simulate(scenario, variant, seconds, options.seed).found()
    held = list(goals(found))
    rows = [Row(scenario, variant, each) for (scenario, variant), each in found.items()]
    print(render(rows, held, notes(seconds, options.seed)))
    return int(options.strict and not all(goal.reached for goal in held))


if __name__ == "__main__":
    sys.exit(main())
