"""The simulated part: a server with a queue, that may be slow, failing, flapping, cold or overloaded.

Calls that its caller gives up are dropped from the queue, as a real server does when it is told; the limit is that of
`meshcore.server.server`, fed in the same way.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

from meshcore.core.call import Call
from meshcore.core.errors import Code, RemoteError
from meshcore.server.loop_lag import EVERY
from meshcore.traffic.adaptive_limit import AdaptiveLimit

WORKERS = 4
"""Calls that a server works on at once; the others queue. So works a Python process with a pool of connections."""

MEAN, SIGMA = 0.02, 0.5
"""Seconds of work of a call, log-normal: its 99th percentile is at 2.8 times the mean."""

CAPACITY = WORKERS / MEAN
"""Calls per second."""

NETWORK = 0.001
"""Seconds after which an answer arrives that took no work."""

MAX_CONCURRENCY = 1000
"""The setting `max_concurrency`."""

_MU = math.log(MEAN) - SIGMA**2 / 2


class Server:
    """One instance.

    Attributes:
        slowness: factor on the work of each call that begins.
        failing: every call fails at once.
    """

    def __init__(self, rng: random.Random, clock: Callable[[], float], *, shedding: bool) -> None:
        self.slowness = 1.0
        self.failing = False
        self._rng = rng
        self._clock = clock
        self._limit = AdaptiveLimit(MAX_CONCURRENCY) if shedding else None
        self._workers = asyncio.Semaphore(WORKERS)  # first come, first served
        self._in_flight = 0

    async def serve(self, call: Call) -> None:
        """Take a call on, queue it, work on it.

        Raises:
            RemoteError: UNAVAILABLE if the server fails, RESOURCE_EXHAUSTED if it has too much to do.
        """
        if self.failing:
            await asyncio.sleep(NETWORK)
            raise RemoteError(Code.UNAVAILABLE, "failing")
        limit = self._limit
        if self._in_flight >= MAX_CONCURRENCY or (limit is not None and not limit.admit(self._in_flight)):
            await asyncio.sleep(NETWORK)
            error = RemoteError(Code.RESOURCE_EXHAUSTED, "overloaded", processed=False)
            error.retry_after = limit.retry_after if limit is not None else None
            raise error
        self._in_flight += 1
        begun = self._clock()
        whole = False
        try:
            async with self._workers:
                await asyncio.sleep(self._rng.lognormvariate(_MU, SIGMA) * self.slowness)
            whole = True
        finally:
            if limit is not None:
                now = self._clock()
                limit.observe(call.method, now - begun, self._in_flight, now, whole=whole)
            self._in_flight -= 1

    async def report_lag(self) -> None:
        """What `meshcore.server.loop_lag` does; this event loop is never late."""
        while self._limit is not None:
            await asyncio.sleep(EVERY)
            self._limit.lagged(0.0, self._clock())
