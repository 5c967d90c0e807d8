"""When the limit of an agent's connections is logged."""

from __future__ import annotations

from meshcore.registry.consul.api.connection_limit import QUICK, TIMES, ConnectionLimit


def test_the_limit_is_logged_once() -> None:
    """After three new connections that were closed at once while somebody listens, or when the agent answers so."""
    limit = ConnectionLimit()
    assert not any(limit.closed(now, 0.0) for now in range(TIMES - 1))
    limit.reset()
    assert not any(limit.closed(20.0 * now, 0.0) for now in range(9))
    assert not any(limit.closed(300.0, 2 * QUICK) for _ in range(9))
    assert not any(limit.closed(350.0, 0.0) for _ in range(9))
    assert [limit.closed(float(now), 0.0) for now in range(400, 404)] == [False, False, True, False]
    assert ConnectionLimit().refused()
    assert not limit.refused()
