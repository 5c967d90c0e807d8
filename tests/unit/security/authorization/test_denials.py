"""Denials in the log: each method and caller once in a while, whatever callers send."""

from __future__ import annotations

import logging

from meshcore.core.caller import Caller, Peer, Proof
from meshcore.security.authorization.denials import MOST, PAUSE, Denials

ORDERS = Peer("10.0.0.1", Caller("spiffe://mesh/svc/orders", "orders", Proof.CERTIFICATE))


def test_a_caller_and_a_method_have_one_line_in_each_pause(caplog):
    """A caller and a method have one line in each pause."""
    now = 0.0
    denials = Denials(logging.getLogger("denials"), lambda: now)
    for _ in range(5):
        denials.note("stock.read", ORDERS, "rule 'r'", audit=False)
    denials.note("stock.count", ORDERS, "rule 'r'", audit=True)
    now = PAUSE
    denials.note("stock.read", ORDERS, "rule 'r'", audit=False)
    assert caplog.messages == [
        "stock.read: denied to spiffe://mesh/svc/orders: rule 'r'",
        "stock.count: would be denied to spiffe://mesh/svc/orders: rule 'r'",
        "stock.read: denied to spiffe://mesh/svc/orders: rule 'r' (4 more since the last line)",
    ]


def test_many_callers_fill_neither_the_log_nor_the_memory(caplog):
    """Many callers fill neither the log nor the memory."""
    now = 0.0
    denials = Denials(logging.getLogger("denials"), lambda: now)
    for number in range(3 * MOST):
        denials.note("stock.read", Peer(f"10.0.{number}"), "no rule allows it", audit=False)
    assert len(denials._limit._seen) <= MOST + 1
    assert len(caplog.messages) == MOST + 1
    now = 2 * PAUSE
    denials.note("stock.read", Peer("another"), "no rule allows it", audit=False)
    assert caplog.messages[-1].endswith("another, who has proven nothing: no rule allows it")
