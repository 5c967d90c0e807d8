"""The last 15 minutes of each method, and the summary of a process."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from meshcore.core.attempt import Attempt
from meshcore.core.description import ComponentDescription, Method, ServiceDescription
from meshcore.core.errors import Code, CommunicationError
from meshcore.telemetry.conventions import OTHER
from meshcore.telemetry.history import STEP, STEPS, History
from meshcore.telemetry.recorder import Recorder, SeenDestination, SeenInstance
from meshcore.telemetry.summary import About, MethodSummary, Summary, summary

METHOD = Method("shop", "order", (), None, is_async=True)
COMPONENT = ComponentDescription(object, "orders", "", (ServiceDescription(object, "shop", "", (METHOD,)),))
KEY = ("client", "orders", "shop/order")
START = 1_000_000.0


def call(recorder: Recorder, times: int, seconds: float = 0.02) -> None:
    """Count calls to another process."""
    for _ in range(times):
        recorder.client("orders")[METHOD].succeed(seconds, [Attempt("a", "rest", 0.0, seconds, "ok")])


def test_a_step_has_what_was_counted_in_it():
    """And a step without calls is left out."""
    recorder = Recorder()
    history = History(recorder, START)
    call(recorder, 10)
    history.tick(START + STEP)
    history.tick(START + 2 * STEP)
    call(recorder, 1, 0.4)
    recorder.client("orders")[METHOD].fail("internal", "internal", 0.4, "")
    history.tick(START + 3 * STEP)
    first, second = history.steps(KEY)
    assert (first.at, first.calls, first.failures) == (START + STEP, 10, 0)
    assert 0.015 < first.p50 <= first.p99 <= 0.02
    assert (second.at, second.calls, second.failures) == (START + 3 * STEP, 2, 1)
    assert 0.35 < second.p50 <= 0.5


def test_a_history_is_bounded():
    """What is older than 15 minutes is gone."""
    recorder = Recorder()
    history = History(recorder, START)
    for number in range(1, 3 * STEPS):
        call(recorder, number)
        history.tick(START + number * STEP)
    steps = history.steps(KEY)
    assert [step.calls for step in steps] == list(range(2 * STEPS, 3 * STEPS))
    assert steps[-1].at - steps[0].at == (STEPS - 1) * STEP


def test_steps_that_were_missed_are_empty():
    """After a loop that hung, or a clock that was set: forwards by little, by much, or backwards."""
    for jump in (5 * STEP, 10 * STEPS * STEP, -5 * STEP, -10 * STEPS * STEP):
        recorder = Recorder()
        history = History(recorder, START)
        call(recorder, 1)
        history.tick(START + STEP)
        call(recorder, 2)
        history.tick(START + STEP + jump)
        found = {step.at: step.calls for step in history.steps(KEY)}
        assert found.pop(int(START + STEP + jump)) == 2
        assert found == ({START + STEP: 1} if jump == 5 * STEP else {})


def test_the_window_is_of_the_last_steps():
    """10 to 20 seconds, so that a rate does not jump when a step ends."""
    recorder = Recorder()
    history = History(recorder, START)
    call(recorder, 100)
    assert history.windows(START + 5)[KEY].per_second == 20.0
    history.tick(START + 10)
    history.tick(START + 20)
    call(recorder, 30)
    assert history.windows(START + 25)[KEY].per_second == 2.0


def test_a_summary_tells_all_and_travels_as_json():
    """Methods on both sides, with their callers, errors and destinations."""
    recorder = Recorder([COMPONENT])
    history = History(recorder, START)
    recorder.served.by_caller["till"][METHOD].ok.observe(0.02)
    recorder.served.by_caller["web"][METHOD].fail("not_found", "OutOfStock", 0.04, "")
    recorder.served.by_caller["web"][None].fail("unimplemented", "unimplemented", 0.0, "no method 'x'")
    recorder.served.refuse("overload")
    call(recorder, 3)
    error = CommunicationError(Code.UNAVAILABLE, "gone")
    recorder.client("orders")[METHOD].failed(error, METHOD, 0.2, [Attempt("a", "rest", 0.0, 0.2, "unavailable")])
    seen = SeenDestination("orders", 1, 2, (SeenInstance(id="a", state="ejected"),), ("rest",))
    recorder.destinations = lambda: [seen]
    made = summary(recorder, history, About(instance="1234", components=("orders",)), START + 5)
    found = msgspec.json.decode(msgspec.json.encode(made), type=Summary)
    assert found == made
    brief = summary(recorder, history, About(instance="1234", components=("orders",)), START + 5, steps=0)
    assert brief == msgspec.structs.replace(made, served=_brief(made.served), called=_brief(made.called))
    order, other = found.served
    assert (order.component, order.method, order.calls, order.failures) == ("orders", "shop/order", 2, 1)
    assert [(caller.name, caller.calls, caller.failures) for caller in order.callers] == [("till", 1, 0), ("web", 1, 1)]
    assert [(each.status, each.kind, each.count) for each in order.errors] == [("not_found", "OutOfStock", 1)]
    assert (other.method, other.errors[0].last) == (OTHER, "no method 'x'")
    (called,) = found.called
    assert (called.calls, called.failures, called.recent.per_second) == (4, 1, 0.8)
    assert called.attempts == {"ok": 3, "unavailable": 1}
    assert found.destinations == (seen,)
    assert found.refused["overload"] == 1


def _brief(methods: Iterable[MethodSummary]) -> tuple[MethodSummary, ...]:
    """The same without their last minutes."""
    return tuple(msgspec.structs.replace(each, history=()) for each in methods)
