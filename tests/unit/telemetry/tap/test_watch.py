"""Who is shown which calls: those that are remembered, and those that somebody taps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core import caller
from meshcore.core.attempt import Attempt
from meshcore.core.call import Call
from meshcore.core.caller import Peer
from meshcore.core.description import Method, Parameter
from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.core.masking import HIDDEN, Secret, has_secret
from meshcore.core.policy import Rules
from meshcore.telemetry.calls import ClientCalls
from meshcore.telemetry.tap.seen_call import SeenCall, shown_arguments
from meshcore.telemetry.tap.tap import MOST_WAITING, Tap, Wanted
from meshcore.telemetry.tap.watch import MOST_TAPS, CallWatch


@dataclass
class Login:
    name: str
    password: Annotated[str, Secret]


PARAMETERS = (
    Parameter("sku", str),
    Parameter("token", Annotated[str, Secret]),
    Parameter("logins", list[Login]),
    Parameter("items", int, stream=True),
)
METHOD = Method("shop", "order", PARAMETERS, None, is_async=True, raises=(ValueError,))
OTHER = Method("shop", "cancel", (), None, is_async=True)
ARGUMENTS = ("tea" * 1000, "hidden", [Login("ann", "hidden")], object())


def series(component: str = "orders", method: str = "shop/order") -> ClientCalls:
    """The calls of one method."""
    return ClientCalls(component, method)


def make(watch: CallWatch, error: BaseException | None = None, seconds: float = 0.1, method: Method = METHOD) -> None:
    """Show a call with two attempts."""
    trail = [
        Attempt("a", "rest", 10.0, 0.04, "unavailable", connecting=0.01),
        Attempt("b", "rest", 10.05, 0.05, "ok"),
    ]
    call = Call(method, ARGUMENTS, trail=trail)
    watch.made(series(method=f"shop/{method.name}"), call, 10.0, seconds, error)


def nothing() -> None:
    """Called when there is something to read."""


def test_the_last_calls_of_a_method_are_remembered():
    """As many as its rules say, with their attempts; without arguments."""
    watch = CallWatch()
    watch.caller = "Client"
    assert not watch.on
    watch.remember("made", "orders", {METHOD: Rules(remember=2), OTHER: Rules()})
    assert watch.on
    unavailable = CommunicationError(Code.UNAVAILABLE, "nobody is there" * 100, processed=False)
    for error in (None, ValueError("of a customer"), unavailable):
        make(watch, error)
    make(watch, method=OTHER)
    declared, last = watch.last()
    assert (declared.outcome, declared.code, declared.text) == ("ValueError", "failed_precondition", "")
    assert (last.outcome, last.code, last.text[:15], len(last.text)) == (
        "unavailable",
        "unavailable",
        "nobody is there",
        200,
    )
    assert (last.side, last.component, last.method, last.caller) == ("made", "orders", "shop/order", "Client")
    first, second = last.attempts
    assert (first.instance, first.outcome, first.after, first.connecting) == ("a", "unavailable", 0.0, 0.01)
    assert (second.seconds, round(second.after, 3)) == (0.05, 0.05)
    assert last.arguments is None

    watch.remember("made", "orders", {METHOD: Rules(remember=3)})  # another proxy, with a policy of its own
    watch.remember("made", "orders", {METHOD: Rules(remember=1)})
    make(watch)
    make(watch)
    assert [each.outcome for each in watch.last()] == ["unavailable", "ok", "ok"]


def test_arguments_are_shown_only_with_consent_and_without_what_is_secret():
    """Those of a type with a secret field are secret, too. Texts are cut."""
    watch = CallWatch()
    watch.remember("made", "orders", {METHOD: Rules(remember=1)})
    asks, silent = (watch.tap(Wanted(component="orders", arguments=each), nothing) for each in (True, False))
    make(watch)
    assert [call.arguments for tap in (asks, silent) for call in tap.take().calls] == [None, None]
    watch.arguments = True
    make(watch)
    (shown,) = asks.take().calls
    assert shown.arguments is not None
    assert len(shown.arguments.pop("sku")) <= 200
    assert shown.arguments == {"token": HIDDEN, "logins": HIDDEN, "items": "<stream>"}
    assert "hidden" not in str(shown)
    assert [call.arguments for call in silent.take().calls] == [None]
    assert [call.arguments is None for call in watch.last()] == [False]


class Node(msgspec.Struct):
    following: Node | None


@pytest.mark.parametrize(
    ("hint", "secret"),
    [
        (str, False),
        (Annotated[str, Secret()], True),
        (dict[str, list[Login]], True),
        (Login | None, True),
        (Node, False),
        (Any, False),
    ],
)
def test_a_secret_is_found_inside_of_a_type(hint: Any, *, secret: bool) -> None:
    """However deep; a type that refers to itself is read once."""
    assert has_secret(hint) is secret


def test_an_argument_that_cannot_be_shown_is_no_error():
    """Its `__repr__` is code of the user's."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Broken" in shown_arguments(METHOD, (Broken(), "", []))["sku"]


def test_a_call_that_was_refused_is_shown_to_who_taps_a_component_that_is_served_here():
    """Its method may not be known then."""
    watch = CallWatch()
    watch.hosted = frozenset({"orders"})
    all_, one, elsewhere = (
        watch.tap(wanted, nothing)
        for wanted in (Wanted(component="orders"), Wanted(component="orders", method="order"), Wanted(component="x"))
    )
    refused = ("resource_exhausted", "resource_exhausted", "it is overloaded")
    headers = Caller()
    watch.served(series("", "_OTHER"), headers, Peer("10.0.0.1"), 0.0, None, None, refused)
    (call,) = all_.take().calls
    assert not call.proven
    orders = Peer("10.0.0.1", caller.Caller("spiffe://a.test/orders", "orders", caller.Proof.CERTIFICATE))
    watch.served(series("", "_OTHER"), headers, orders, 0.0, None, None, refused)
    (proven,) = all_.take().calls
    assert (proven.caller, proven.proven) == ("orders", True)
    assert (call.side, call.outcome, call.text, call.caller, call.attempt, call.peer) == (
        ("served", "resource_exhausted", "it is overloaded", "till", 2, "10.0.0.1")
    )
    assert not one.take().calls
    assert not elsewhere.take().calls


class Caller:
    caller = "till"
    attempt = 2


def test_readers_are_bounded_and_nothing_is_on_without_them():
    """The next one is told so."""
    watch = CallWatch()
    taps = [watch.tap(Wanted(component="orders"), nothing) for _ in range(MOST_TAPS)]
    with pytest.raises(LocalError, match="8 readers tap"):
        watch.tap(Wanted(component="orders"), nothing)
    for tap in taps:
        assert watch.on
        watch.untap(tap)
    assert not watch.on


def test_slow_calls_are_those_above_the_99th_percentile_or_a_number():
    """As soon as that is known; beside them, those that failed if these are wanted, too."""
    calls = series()
    slow, slower, bad = (
        Tap(wanted, nothing)
        for wanted in (
            Wanted(component="orders", slow=True),
            Wanted(component="orders", slower_than=0.5),
            Wanted(component="orders", slower_than=0.5, failed=True),
        )
    )
    assert not slow.takes(calls, 9.0, 0.0, failed=False)  # nothing is known of the method yet
    for _ in range(200):
        calls.succeed(0.01, [Attempt("a", "rest", 0.0, 0.01, "ok")])
    assert slow.takes(calls, 0.1, 2.0, failed=False)
    assert not slow.takes(calls, 0.009, 2.0, failed=True)
    assert [slower.takes(calls, each, 2.0, failed=False) for each in (0.5, 0.6)] == [False, True]
    assert [bad.takes(calls, 0.1, 2.0, failed=each) for each in (False, True)] == [False, True]


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 60), st.booleans()), max_size=40),
)
def test_a_reader_gets_what_it_wants_within_bounds_and_is_told_of_the_rest(
    max_rps: int, steps: list[tuple[float, int, bool]]
):
    """No more in a second than it wants, no more at once than may wait, and no call goes uncounted."""
    tap, calls, now = Tap(Wanted(component="orders", max_rps=max_rps), nothing), series(), 0.0
    seen = SeenCall(side="made", component="", method="", caller="", outcome="ok", code="ok", at=0.0, seconds=0.0)
    offered = told = 0
    shown: list[float] = []
    for pause, number, reads in steps:
        now += pause
        for _ in range(number):
            offered += 1
            if tap.takes(calls, 0.1, now, failed=False):
                tap.show(seen)
                shown.append(now)
        if reads:
            taken = tap.take()
            assert len(taken.calls) <= MOST_WAITING
            told += len(taken.calls) + taken.left_out + taken.lost
    taken = tap.take()
    assert told + len(taken.calls) + taken.left_out + taken.lost == offered
    for at in shown:
        assert sum(at <= other < at + 1.0 for other in shown) <= 2 * max_rps  # a window of another phase may see two


def test_a_slow_reader_loses_calls_and_is_told_how_many():
    """It is not the rate that leaves them out."""
    tap, calls = Tap(Wanted(component="orders", max_rps=1000), nothing), series()
    seen = SeenCall(side="made", component="", method="", caller="", outcome="ok", code="ok", at=0.0, seconds=0.0)
    for _ in range(MOST_WAITING + 7):
        if tap.takes(calls, 0.1, 0.0, failed=False):
            tap.show(seen)
    taken = tap.take()
    assert (len(taken.calls), taken.lost, taken.left_out) == (MOST_WAITING, 7, 0)
    assert tap.takes(calls, 0.1, 0.0, failed=False)
