"""What it costs to count calls: per call, in memory, and at a scrape."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Sequence

from benchmarks.calls.wire import Plan
from benchmarks.report import Goal, Report, Row
from benchmarks.telemetry.cost import costs
from benchmarks.telemetry.spans import SPANS, span_costs
from benchmarks.telemetry.strangers import strangers_section
from meshcore.core.attempt import Attempt
from meshcore.core.description import ComponentDescription, Method, ServiceDescription
from meshcore.telemetry.calls import Calls
from meshcore.telemetry.exposition import expose
from meshcore.telemetry.history import STEP, STEPS, History
from meshcore.telemetry.recorder import Recorder
from meshcore.telemetry.snapshot import decode, encode, snapshot, total

METHODS, WORKERS, CALLERS = 500, 4, 4
SHARES = {"dispatch-msgpack": 2.0, "stream-msgpack": 4.0}
"""Percent of the CPU time of a call, at most."""

_ROUNDS, _CALLS = 40, 5_000


async def telemetry_section(plan: Plan, report: Report) -> None:
    """What counting adds to a call, on both sides, and what a scrape takes."""
    client, server = count_made(), count_served()
    report.rows += [
        Row("counting", "a call that was made", client * 1e6),
        Row("counting", "a call that was served", server * 1e6),
    ]
    report.goals += [
        Goal("us: counting a call on the client's side", 0.5, client * 1e6),
        Goal("us: counting a call on the server's side", 0.5, server * 1e6),
    ]
    for name, cost in (await costs(plan, report.notes, tuple(SHARES))).items():
        text = f"% of the CPU time of a call over {name}, {cost.microseconds:.0f} us: counting it, on and off in turn"
        report.goals.append(Goal(text, SHARES[name], cost.percent))
        for way, (seconds, ratio) in (await span_costs(name, plan.rounds // 2)).items():
            report.notes.append(f"in memory, over {name}, {way}: {seconds * 1e6:.1f} us of CPU, {ratio:.2f} times")
            if way == SPANS:
                text = f"% of the CPU time of a call over {name} in memory: {way}"
                report.goals.append(Goal(text, 5.0, 100 * (ratio - 1)))
    await strangers_section(plan, report)
    worst, history, taken = recorded(("unavailable", "internal"), called=True)
    usual, _, _ = recorded(("unavailable",), called=False)
    report.goals += [
        Goal(
            f"MiB: {METHODS} methods, served to {CALLERS} callers and called, failing in two ways",
            5.0,
            taken / 2**20,
        ),
        Goal(f"ms of CPU: answering a scrape of {METHODS} methods and {WORKERS} workers", 50.0, scrape(usual) * 1e3),
        Goal("ms of CPU: the same, all are called as well, and fail in two ways", 50.0, scrape(worst) * 1e3),
        Goal(f"ms of CPU: a step of the history, once in {STEP} s", 50.0, step(history) * 1e3),
    ]


def count_made() -> float:
    """Seconds to count a call as a client."""
    (method,) = described(1).services[0].methods
    table, trail, clock = Recorder().client("bench"), [Attempt("a", "b", 0.0, 0.001, "ok")], time.monotonic
    begun = clock()

    def run() -> None:
        for _ in range(_CALLS):
            table[method].succeed(clock() - begun, trail)

    return best(run) / _CALLS


def count_served() -> float:
    """Seconds to count a call as a server."""
    component = described(1)
    (method,) = component.services[0].methods
    served, clock = Recorder([component]).served, time.monotonic
    begun = clock()

    def run() -> None:
        for _ in range(_CALLS):
            served.by_caller["bench"][method].ok.observe(clock() - begun)

    return best(run) / _CALLS


def best(run: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Seconds of CPU of the fastest of many rounds: what others do on the machine makes only slower."""
    times: list[float] = []
    for _ in range(rounds):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times)


def described(methods: int) -> ComponentDescription:
    """A component with so many methods."""
    found = tuple(Method("bench", f"method{number}", (), None, is_async=True) for number in range(methods))
    return ComponentDescription(object, "bench", "", (ServiceDescription(object, "bench", "", found),))


def recorded(failures: Sequence[str], *, called: bool) -> tuple[Recorder, History, int]:
    """A process that serves many methods for 15 minutes, and the bytes that its numbers take.

    Args:
        failures: the codes with which each of them fails.
        called: whether it calls them as well.
    """
    component = described(METHODS)
    tracemalloc.start()
    try:
        recorder = Recorder([component])
        history = History(recorder, 0.0)
        for number in range(1, STEPS + 1):
            if number % (STEPS // 3) == 0:
                for method in component.services[0].methods:
                    for caller in range(CALLERS):
                        recorder.served.by_caller[f"caller {caller}"][method].ok.observe(0.001 * number)
                    sides: list[Calls] = [recorder.served.by_caller["caller 0"][method]]
                    if called:
                        made = recorder.client("bench")[method]
                        made.succeed(0.001 * number, [Attempt("a", "b", 0.0, 0.001, "ok")])
                        sides.append(made)
                    for each in sides:
                        for code in failures:
                            each.fail(code, code, 0.01, "it says why")
            history.tick(number * STEP)
        return recorder, history, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def scrape(recorder: Recorder) -> float:
    """Seconds of CPU of the worker that answers for all. The others look up their own numbers at the same time."""
    told = encode(snapshot(recorder))

    def run() -> None:
        others = [decode(told) for _ in range(WORKERS - 1)]
        expose(total([snapshot(recorder), *others]), openmetrics=False)

    return best(run, 10)


def step(history: History) -> float:
    """Seconds of CPU of one step."""
    number = 10 * STEPS

    def run() -> None:
        nonlocal number
        number += 1
        history.tick(number * STEP)

    return best(run, 10)
