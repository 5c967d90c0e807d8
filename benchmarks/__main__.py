"""`python -m benchmarks`: what a call costs, next to what it could cost and to what it costs elsewhere.

Sections: `local`, a call inside the process; `wire`, a call between two processes, next to one written by hand; `seed`,
next to aspyx-service; `peers`, next to gRPC, Connect, FastAPI and others; `stream-scale`, many calls, connections and
items on the stream channel; `consul`, how fast servers are found and missed through it; `telemetry`, what it costs to
count calls; `authorization`, what it costs to judge who may call; `page`, what the live page costs the server that
shows it; `tls`, what mutual TLS costs. Every figure is a median of rounds in which all candidates have their turns one
after the other, but those of `stream-scale` and `authorization` that say otherwise, and those of
`page`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
from pathlib import Path

import msgspec

from benchmarks.authorization import authorization_section
from benchmarks.calls.sections import Plan, local_section, seed_section, wire_section
from benchmarks.comparison.candidates import peer_files
from benchmarks.comparison.section import peers_section, renew, write
from benchmarks.consul.section import consul_section
from benchmarks.page import page_section
from benchmarks.processes import CLIENT, leave_alone, loop_factory, pin
from benchmarks.report import Report, machine, render, versions
from benchmarks.scale.section import scale_section
from benchmarks.scale.written import write_scale
from benchmarks.telemetry.section import telemetry_section
from benchmarks.tls import tls_section

QUICK, THOROUGH = (2, 0.2), (60, 0.15)
"""Rounds, and seconds of each turn. Many short ones: what disturbs the machine then disturbs all candidates alike."""

LOOPS = ("asyncio", "uvloop")
SECTIONS = {
    "local": local_section,
    "wire": wire_section,
    "seed": seed_section,
    "peers": peers_section,
    "stream-scale": scale_section,
    "consul": consul_section,
    "telemetry": telemetry_section,
    "authorization": authorization_section,
    "page": page_section,
    "tls": tls_section,
}
WRITERS = {"peers": write, "stream-scale": write_scale}


async def run(names: list[str], plan: Plan) -> Report:
    """Measure these sections, one after the other."""
    placed = "client and server pinned to a core each" if pin(0, CLIENT) else "not pinned to cores"
    report = Report(f"{machine()}; {placed}", versions(plan.loop), [], [], [])
    for name in names:
        print(f"measuring: {name}", file=sys.stderr)
        await SECTIONS[name](plan, report)
    return report


def default_loop() -> str:
    """The faster one, if it is installed; aspyx's server does the same."""
    return "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"


def main() -> int:
    """Measure, print, and say by the exit status whether a goal was missed, if that is asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="what a call costs")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, some minutes: shows that all works")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section; may be given again")
    parser.add_argument(
        "--peer", choices=peer_files(), action="append", help="in the section peers, this one; may be given again"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="write what peers and stream-scale found there: JSON and tables"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="renew the figures of the section peers in a page")
    parser.add_argument("--loop", choices=LOOPS, default=default_loop(), help="on both sides (default: %(default)s)")
    parser.add_argument("--no-pin", action="store_true", help="let the system place client and server")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if a goal is missed")
    options = parser.parse_args()
    if options.no_pin:
        leave_alone()
    names = options.only or list(SECTIONS)
    if "peers" not in names and (options.page or options.peer):
        parser.error("--page and --peer belong to the section peers: --only peers")
    if options.write and not WRITERS.keys() & names:
        parser.error(f"--write needs one of the sections {' and '.join(WRITERS)}: --only {next(iter(WRITERS))}")
    effort = QUICK if options.quick else THOROUGH
    plan = Plan(*effort, options.loop, quick=options.quick, peers=options.peer or ())
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        report = runner.run(run(names, plan))
    if options.write:
        for name in WRITERS.keys() & names:
            print(*(f"wrote {file}" for file in WRITERS[name](report, options.write)), sep="\n", file=sys.stderr)
    if options.page:
        renew(options.page, report)
    print(msgspec.json.format(msgspec.json.encode(report)).decode() if options.json else render(report))
    return int(options.strict and not all(goal.reached for goal in report.goals))


if __name__ == "__main__":
    sys.exit(main())
