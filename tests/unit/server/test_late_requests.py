"""A server whose loop is late: a caller's time has begun when its bytes arrived, not when they are read."""

from __future__ import annotations

import asyncio
import time

import pytest

from meshcore import Call, Code, MeshError
from meshcore.core.caller import Peer
from meshcore.core.description import Method
from meshcore.server.loop_lag import Lag
from meshcore.server.server import Server
from meshcore.traffic.adaptive_limit import AdaptiveLimit
from meshcore.wire.headers import RequestHeaders

COOK = Method("kitchen", "cook", (), None, is_async=True)


async def cook(call: Call) -> str:
    """What the call leads to."""
    return f"cooked in {call.deadline - time.monotonic():.0f} s"


def server(limit: AdaptiveLimit | None, path: float) -> Server:
    """A server whose loop is so late."""
    made = Server(cook, max_concurrency=10, request_timeout=60.0, debug=False, limit=limit)
    made.tick(Lag(time.monotonic(), path=path))
    return made


async def ask(made: Server, *headers: tuple[bytes, bytes]) -> str:
    """Make a call."""
    with made.accept(RequestHeaders(headers), Peer("host"), asyncio.Event().wait) as request:
        answer: str = await made.run(request, COOK, ())
        return answer


def patience(seconds: int) -> tuple[bytes, bytes]:
    """The header of a caller that waits so long."""
    return b"mesh-timeout-ms", b"%d" % (seconds * 1000)


async def refusal(made: Server, *headers: tuple[bytes, bytes]) -> MeshError:
    """What the caller gets."""
    with pytest.raises(MeshError) as caught:
        await ask(made, *headers)
    return caught.value


async def test_the_time_on_the_way_counts() -> None:
    """It is taken from what the caller grants, and not from the server's own bound."""
    late = server(AdaptiveLimit(10), path=20.0)  # and a seventh of that
    assert int((await ask(late, patience(50))).split()[2]) <= 27
    assert int((await ask(late)).split()[2]) > 27
    assert int((await ask(server(AdaptiveLimit(10), path=0.04), patience(50))).split()[2]) > 27
    assert int((await ask(server(None, path=20.0), patience(50))).split()[2]) > 27  # switched off


async def test_a_caller_that_waits_no_more_is_refused() -> None:
    """Before its body is read, and as not processed."""
    late = server(AdaptiveLimit(10), path=20.0)
    for seconds in (1, 21):
        error = await refusal(late, patience(seconds))
        assert (error.code, error.processed, error.retryable) == (Code.RESOURCE_EXHAUSTED, False, True)
    late.tick(Lag(time.monotonic()))
    assert await ask(late, patience(21))


async def test_what_cannot_be_done_in_time_is_refused() -> None:
    """Where the loop is late, a call begins only if its method usually ends in the time that is left."""
    limit = AdaptiveLimit(10)
    for number in range(30):
        limit.observe(COOK, 40.0, 1, float(number))
    assert limit.usual(COOK) == pytest.approx(40.0)
    late = server(limit, path=1.0)
    assert (await refusal(late, patience(30))).code is Code.RESOURCE_EXHAUSTED
    assert await ask(late, patience(50))
    assert await ask(server(limit, path=0.0), patience(30))
