"""Says which calls ran while the event loop stood still: one of them blocked it. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from meshcore.core.description import Method

STALL = 1.0
"""Seconds for which an event loop stands still before anybody is told; below, the adaptive limit sees to it."""

_SLACK = 0.1
_REMEMBERED = 16
_NAMED = 3


class Stalls:
    """Remembers what ran long until a moment ago.

    Who blocks a loop cannot be seen while he does, and the loop's timer comes only after him: so those that have just
    ended are asked as well.
    """

    def __init__(self) -> None:
        self._ended: deque[tuple[Method, float, float]] = deque(maxlen=_REMEMBERED)

    def ended(self, method: Method, begun: float, now: float) -> None:
        """A call has ended."""
        if now - begun >= STALL - _SLACK:
            self._ended.append((method, begun, now))

    def late(self, lag: float, now: float, running: Iterable[tuple[Method, float]]) -> str:
        """What to say of a loop that is so many seconds late at that time; empty if nothing.

        Args:
            lag: seconds.
            now: in seconds.
            running: the calls that run, and since when.
        """
        if lag < STALL:
            return ""
        first, last = now - lag + _SLACK, now - _SLACK
        spans = [*self._ended, *((method, begun, now) for method, begun in running)]
        # Who began last is named first: the loop was still alive before.
        spans.sort(key=lambda span: -span[1])
        names = dict.fromkeys(str(method) for method, begun, end in spans if begun <= first and end >= last)
        while_ = ", ".join(list(names)[:_NAMED]) or "no call of this mesh"
        return (
            f"the event loop stood still for {lag:.1f} s while {while_} ran; what blocks belongs into a `def` "
            "implementation, which runs in a thread, or into asyncio.to_thread"
        )
