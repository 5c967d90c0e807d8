"""Bounds the time between the items of a result: a server that hangs is found out also without a timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf
from typing import Any

from meshcore.core.call import Call, SendItem, StreamHandler
from meshcore.core.context.call_scope import CallScope, Stop, Stopped
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError
from meshcore.core.policy import Rules


class Idle:
    """Stops a stream whose next item does not come in time. The time that its reader takes does not count.

    Args:
        rules: the numbers that govern each method.
    """

    def __init__(self, rules: Mapping[Method, Rules]) -> None:
        self._rules = rules

    async def __call__(self, handler: StreamHandler, call: Call, send: SendItem) -> Any:
        """Run the call.

        Raises:
            CommunicationError: DEADLINE_EXCEEDED, the next item did not come in time.
        """
        seconds = self._rules[call.method].idle
        if seconds == inf or not call.method.yields:
            return await handler(call, send)
        watch = _Watch(seconds, send)
        try:
            with watch.scope:
                watch.begin()
                return await handler(call, watch.send)
        except Stopped as stopped:
            text = f"{call.method}: no item came for {seconds:.3g} s (policy: idle)"
            raise CommunicationError(Code.DEADLINE_EXCEEDED, text, retryable=False) from stopped
        finally:
            watch.end()


class _Watch:
    """Watches one stream with one timer: to set it anew for each item would take a microsecond each."""

    def __init__(self, seconds: float, send: SendItem) -> None:
        self.scope = CallScope()
        self._seconds = seconds
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._since = 0.0  # when the last item was taken; inf while its reader is awaited
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._since = self._loop.time()
        self._timer = self._loop.call_at(self._since + self._seconds, self._look)

    async def send(self, item: Any) -> None:
        self._since = inf
        await self._send(item)
        self._since = self._loop.time()

    def _look(self) -> None:
        now = self._loop.time()
        due = min(self._since, now) + self._seconds
        if due <= now:
            self.scope.stop(Stop.DEADLINE)
        else:
            self._timer = self._loop.call_at(due, self._look)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
