"""Who is at the other end of a connection, and how often a line is logged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshcore.asgi.messages import peer_of
from meshcore.core.caller import ANONYMOUS, Caller, Peer, Proof
from meshcore.security.log_limit import _LINES, LogLimit
from meshcore.security.tls.served_connection import ServedConnection, served_connection, told_to_leave

ORDERS = Caller("spiffe://dev.mesh/svc/orders", "orders", Proof.CERTIFICATE)


def test_requests_of_other_clients_prove_nothing():
    """A request that code of a connection makes itself, as test clients do, has not the caller of the connection."""
    token = served_connection.set(ServedConnection(ORDERS))
    try:
        assert peer_of({"client": ("10.0.0.1", 1)}) == Peer("10.0.0.1", ORDERS)
        assert peer_of({"client": ("10.0.0.1", 1)}) == Peer("10.0.0.1", ORDERS)
        assert peer_of({"client": ("10.0.0.1", 2)}) == Peer("10.0.0.1", ANONYMOUS)
        assert peer_of({"client": ("testclient", 50_000)}) == Peer("testclient", ANONYMOUS)
        assert peer_of({}) == Peer("unknown", ANONYMOUS)
    finally:
        served_connection.reset(token)
    assert peer_of({"client": ("10.0.0.1", 1)}) == Peer("10.0.0.1", ANONYMOUS)


def test_a_connection_tells_once_that_it_is_to_be_made_anew():
    """Also one that asks when it is too late, and none that is not interested any more."""
    connection = ServedConnection(ORDERS)
    told: list[str] = []
    token = served_connection.set(connection)
    try:
        with told_to_leave(lambda: told.append("early")):
            connection.leave()
            connection.leave()
        with told_to_leave(lambda: told.append("late")):
            pass
        connection.leave()
    finally:
        served_connection.reset(token)
    with told_to_leave(lambda: told.append("without TLS")):
        pass
    assert told == ["early", "late"]
    assert not connection.on_leave


@given(st.lists(st.tuples(st.integers(0, 2 * _LINES), st.floats(0, 30)), max_size=600))
def test_equal_lines_are_bounded(seen):
    """Each line is logged at most once in its time, and memory is bounded."""
    now = 0.0
    limit = LogLimit(60.0, lambda: now)
    logged: dict[int, float] = {}
    for line, pause in seen:
        now += pause
        more = limit.admit(str(line))
        if more is not None and len(limit._seen) < _LINES:
            assert line not in logged or now - logged[line] >= 60.0
            logged[line] = now
        assert len(limit._seen) <= _LINES + 1


def test_the_number_of_lines_that_were_left_out():
    """It is told with the next line."""
    now = 0.0
    limit = LogLimit(60.0, lambda: now)
    assert [limit.admit("a") for _ in range(4)] == [0, None, None, None]
    now = 61.0
    assert (limit.admit("a"), limit.admit("b")) == (3, 0)
