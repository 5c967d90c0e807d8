"""Bounds how often the same line is logged, for what anybody on the network can cause."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_EVERY: Final = 60.0
"""Seconds between two equal lines."""
_LINES: Final = 256
"""Different lines that are told apart by default."""
_OTHERS: Final = ""


class LogLimit:
    """Tells whether a line is to be logged now.

    Args:
        every: seconds between two equal lines.
        clock: the time in seconds.
        most: different lines that are told apart. There is one more for all others together.
    """

    def __init__(self, every: float = _EVERY, clock: Callable[[], float] = time.monotonic, most: int = _LINES) -> None:
        self._every = every
        self._clock = clock
        self._most = most
        self._purged = float("-inf")
        self._seen: dict[str, list[float]] = {}  # the time of the last line, and how many were left out since

    def admit(self, line: str) -> int | None:
        """How many equal lines were left out before this one, None if this one is left out, too."""
        now, seen = self._clock(), self._seen
        if line not in seen and len(seen) >= self._most:
            if now - self._purged >= self._every:  # not each time: a flood of lines would look through all of them
                self._purged = now
                for old in [each for each, (at, _) in seen.items() if now - at >= self._every]:
                    del seen[old]
            if len(seen) >= self._most:
                line = _OTHERS
        last = seen.get(line)
        if last is not None and now - last[0] < self._every:
            last[1] += 1
            return None
        seen[line] = [now, 0]
        return 0 if last is None else int(last[1])
