"""Writes the reasons of refusals into the log, at a bounded rate."""

from __future__ import annotations

import logging
from collections.abc import Callable

_BURST, _RATE = 100.0, 10.0
"""Lines at once, and lines per second."""


class RefusalLog:
    """A line for each refusal. Of many, so that a flood of bad tokens fills no disk, some, and the number of the rest.

    Args:
        log: where the lines go.
        clock: monotonic seconds.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._left = _BURST
        self._at = clock()
        self._dropped = 0

    def write(self, reason: str, who: str, called: str) -> None:
        """Log a refusal, unless there were too many just now."""
        now = self._clock()
        self._left = min(self._left + (now - self._at) * _RATE, _BURST)
        self._at = now
        if self._left < 1:
            self._dropped += 1
            return
        self._left -= 1
        more = f" (and {self._dropped} calls before, without a line)" if self._dropped else ""
        self._dropped = 0
        self._log.warning("refused %s of %s: %s%s", called or "a call", who or "an unknown caller", reason, more)
