"""Resumes streams that broke: calls their methods again from behind the last item, where the interface says how."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from meshcore.core.call import Call, SendItem, StreamHandler
from meshcore.core.description import Method
from meshcore.core.errors import MeshError
from meshcore.core.policy import Rules

_LONGEST_PAUSE = 5.0
"""Seconds. The longest pause doubles up to this, from the policy's `back_off` on."""

_LASTED = 10.0
"""Seconds after which a part of a stream counts as progress, also without an item: events may be rare."""


class Resume:
    """Calls a stream again that broke after its first item, or when it may have begun.

    It does so for errors after which a call may succeed elsewhere or later: the connection broke, the server drains.
    The first pause is random, too, so that the readers of a server that stops do not all come at once. Deadline and
    idle bound are those of the whole stream.

    Args:
        rules: the numbers that govern each method.
        clock: the monotonic time, in seconds.
        rng: the source of randomness.
    """

    def __init__(self, rules: Mapping[Method, Rules], clock: Callable[[], float], rng: random.Random) -> None:
        self._rules = rules
        self._clock = clock
        self._rng = rng

    async def __call__(self, handler: StreamHandler, call: Call, send: SendItem) -> Any:
        """Run the stream until it ends, or cannot be resumed.

        Raises:
            MeshError: the error that it broke with last.
        """
        resumption, rules = call.method.resumption, self._rules[call.method]
        if resumption is None or not rules.resumes:
            return await handler(call, send)
        part = _Part(call, send)
        begun, failed, longest = False, 0, rules.back_off
        while True:
            started = self._clock()
            try:
                return await handler(part.call, part.send)
            except MeshError as error:
                now = self._clock()
                if part.any or (begun and now - started >= _LASTED):
                    failed, longest = 0, rules.back_off
                    call.trail.clear()  # a stream may live for months
                begun = begun or part.any or error.processed
                failed += 1
                pause = max(error.retry_after or 0.0, self._rng.uniform(0, longest))
                over = failed > rules.resumes or now + pause >= call.deadline
                if not (begun and error.retryable) or over or not part.advance(resumption.at, resumption.key_of):
                    raise
            await asyncio.sleep(pause)
            longest = min(longest * 2, _LONGEST_PAUSE)


class _Part:
    """A part of a stream: from its beginning, or a resumption, to the next break.

    Attributes:
        call: what is called.
        any: whether an item has come.
    """

    def __init__(self, call: Call, send: SendItem) -> None:
        self.call = call
        self.any = False
        self._send = send
        self._last: Any = None

    async def send(self, item: Any) -> None:
        """Pass an item on, and remember it."""
        self._last, self.any = item, True
        await self._send(item)

    def advance(self, at: int, key_of: Callable[[Any], Any]) -> bool:
        """Go on behind the last item.

        Returns:
            Whether that is possible: an item of any type may have no such key.
        """
        if self.any:
            try:
                key = key_of(self._last)
            except LookupError:
                return False
            arguments = (*self.call.arguments[:at], key, *self.call.arguments[at + 1 :])
            self.call = msgspec.structs.replace(self.call, arguments=arguments)
            self._last, self.any = None, False
        return True
