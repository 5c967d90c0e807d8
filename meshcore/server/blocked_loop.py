"""Names the calls that may have blocked the event loop. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from meshcore.core.description import Method

MIN_BLOCKED = 1.0
"""Seconds. A shorter lag is not logged; the adaptive limit handles it."""

_SLACK = 0.1  # seconds; the precision of the times

LONG = MIN_BLOCKED - _SLACK
"""Seconds. A shorter call has not blocked the loop, and need not be recorded."""

_REMEMBERED = 16  # calls that have ended
_NAMED = 3  # calls that a message names


class BlockedLoopDetector:
    """Finds the calls that ran while the event loop was blocked.

    The lag is measured only after the blocking call has returned to the loop. By then that call may have ended, so
    calls that ended recently are remembered.
    """

    def __init__(self) -> None:
        self._ended: deque[tuple[Method, float, float]] = deque(maxlen=_REMEMBERED)

    def ended(self, method: Method, begun: float, now: float) -> None:
        """Record a call that has ended."""
        if now - begun >= LONG:
            self._ended.append((method, begun, now))

    def late(self, lag: float, now: float, running: Iterable[tuple[Method, float]]) -> str:
        """The message about a blocked loop, empty if the lag is short.

        Args:
            lag: the lag of the loop in seconds.
            now: the time in seconds.
            running: the running calls, each with its start.
        """
        if lag < MIN_BLOCKED:
            return ""
        first, last = now - lag + _SLACK, now - _SLACK
        spans = [*self._ended, *((method, begun, now) for method, begun in running)]
        # The call that began last is named first: the loop was not blocked yet when it began.
        spans.sort(key=lambda span: -span[1])
        names = dict.fromkeys(str(method) for method, begun, end in spans if begun <= first and end >= last)
        while_ = ", ".join(list(names)[:_NAMED]) or "no call of this mesh"
        return (
            f"the event loop was blocked for {lag:.1f} s while {while_} ran; move blocking code to a `def` "
            "implementation, which runs in a thread, or to asyncio.to_thread"
        )
