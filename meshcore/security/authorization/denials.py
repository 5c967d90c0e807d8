"""Logs denials, without letting callers fill the log or the memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from meshcore.core.caller import Peer

PAUSE: Final = 60.0
"""Seconds between two lines about the same method and caller."""

MOST: Final = 1024
"""Pairs of a method and a caller that are told apart. Those beyond share one line in each pause."""


class Denials:
    """Logs each method and caller at most once in a while, with the number of denials since.

    Args:
        log: gets the lines.
        clock: seconds.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._purged = float("-inf")
        self._noted: dict[tuple[str, str], tuple[float, int]] = {}  # when it was logged, and how many were not since

    def note(self, method: str, peer: Peer, rule: str, *, audit: bool) -> None:
        """Note a denial.

        Args:
            method: that was called.
            peer: who called.
            rule: that denies it.
            audit: whether the call runs nevertheless.
        """
        now = self._clock()
        caller = peer.caller.identity or peer.caller.component or f"{peer.host}, who has proven nothing"
        key = (method, caller)
        if key not in self._noted and len(self._noted) >= MOST:
            if now - self._purged >= PAUSE:
                self._purged = now
                self._noted = {each: noted for each, noted in self._noted.items() if now - noted[0] < PAUSE}
            if len(self._noted) >= MOST:
                key = ("", "")
        at, more = self._noted.get(key, (float("-inf"), 0))
        if now - at < PAUSE:
            self._noted[key] = (at, more + 1)
            return
        self._noted[key] = (now, 0)
        what = "would be denied" if audit else "denied"
        again = f" ({more} more since the last line)" if more else ""
        self._log.warning("%s: %s to %s: %s%s", method, what, caller, rule, again)
