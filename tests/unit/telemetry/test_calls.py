"""Calls of one method: how they ended, and their attempts."""

from __future__ import annotations

import asyncio

import pytest

from meshcore.core.attempt import Attempt
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError, RemoteError
from meshcore.telemetry.calls import MOST_FAILURES, ClientCalls, kind_of
from meshcore.telemetry.conventions import OTHER


class OutOfStock(Exception):
    code = Code.NOT_FOUND


class NoneLeft(OutOfStock):
    """An exception of a declared kind."""


METHOD = Method("shop", "order", (), None, is_async=True, raises=(OutOfStock, ValueError))


def made() -> ClientCalls:
    """Calls that nobody has made yet."""
    return ClientCalls("orders", "shop/order")


def ended(began: float, seconds: float, outcome: str) -> Attempt:
    """An attempt that has ended."""
    return Attempt("a", "rest", began, seconds, outcome)


def test_a_call_with_one_attempt_is_one_attempt_that_succeeded():
    """Though nothing but the call was counted."""
    calls = made()
    calls.succeed(0.1, [ended(0.0, 0.1, "ok")])
    assert calls.outcomes() == {"ok": 1}
    assert (calls.retries, calls.hedges) == (0, 0)


def test_retries_follow_an_attempt_and_hedges_begin_beside_one():
    """The second began after the end of the first; the third while the second was under way."""
    calls = made()
    calls.succeed(0.4, [ended(0.0, 0.1, "unavailable"), ended(0.15, 0.25, "given up"), ended(0.3, 0.1, "ok")])
    calls.succeed(0.1, [ended(1.0, 0.1, "ok")])
    assert calls.outcomes() == {"unavailable": 1, "given up": 1, "ok": 2}
    assert (calls.retries, calls.hedges) == (1, 1)


def test_an_answer_of_an_interceptor_is_no_attempt():
    """Nor is one that failed an attempt that succeeded, whatever an interceptor made of it."""
    calls = made()
    calls.succeed(0.1, [])
    calls.succeed(0.1, [ended(0.0, 0.1, "unavailable")])
    assert calls.ok.count == 2
    assert calls.outcomes() == {"unavailable": 1, "ok": 0}


def test_attempts_of_failed_calls_count_too():
    """And the call's failure has its code, its time and its text."""
    calls = made()
    error = CommunicationError(Code.UNAVAILABLE, "x" * 1000)
    calls.failed(error, METHOD, 0.3, [ended(0.0, 0.1, "unavailable"), ended(0.2, 0.1, "unavailable")])
    assert calls.outcomes() == {"unavailable": 2, "ok": 0}
    failed = calls.failures["unavailable", "unavailable"]
    assert (failed.count, failed.sum, failed.last) == (1, 0.3, "x" * 200)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RemoteError(Code.NOT_FOUND, ""), ("not_found", "not_found")),
        (NoneLeft(), ("not_found", "OutOfStock")),
        (ValueError(), ("failed_precondition", "ValueError")),
        (asyncio.CancelledError(), ("canceled", "canceled")),
        (TypeError(), ("unknown", "TypeError")),
    ],
)
def test_an_error_has_a_status_and_a_type(error, kind):
    """The type of a declared exception is its declared class, so that there are no more than were declared."""
    assert kind_of(error, METHOD) == kind


def test_what_a_caller_canceled_did_not_fail():
    """It left a stream, or had the answer of a hedge. It counts as a call, and is told by its code."""
    calls = made()
    calls.succeed(0.1, [ended(0.0, 0.1, "ok")])
    calls.failed(asyncio.CancelledError(), METHOD, 0.1, [])
    calls.failed(RemoteError(Code.NOT_FOUND, ""), METHOD, 0.1, [])
    assert (calls.count, calls.failed_count) == (3, 1)
    assert calls.failures["canceled", "canceled"].count == 1


def test_the_kinds_of_failures_and_outcomes_are_bounded():
    """What is beyond is one series."""
    calls = made()
    for number in range(1000):
        error = type(f"Error{number}", (Exception,), {})()
        calls.failed(error, METHOD, 0.0, [ended(0.0, 0.0, type(error).__name__)])
    assert len(calls.failures) == MOST_FAILURES + 1
    assert calls.failures[OTHER, OTHER].count == 1000 - MOST_FAILURES
    assert calls.attempts[OTHER] == 1000 - MOST_FAILURES
