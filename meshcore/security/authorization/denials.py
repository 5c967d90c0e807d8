"""Logs denials, without letting callers fill the log or the memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from meshcore.core.caller import Peer
from meshcore.security.log_limit import LogLimit

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
        self._limit = LogLimit(PAUSE, clock, MOST)

    def note(self, method: str, peer: Peer, rule: str, *, audit: bool) -> None:
        """Note a denial.

        Args:
            method: that was called.
            peer: who called.
            rule: that denies it.
            audit: whether the call runs nevertheless.
        """
        caller = peer.caller.identity or peer.caller.component or f"{peer.host}, who has proven nothing"
        more = self._limit.admit(f"{method} {caller}")
        if more is None:
            return
        what = "would be denied" if audit else "denied"
        again = f" ({more} more since the last line)" if more else ""
        self._log.warning("%s: %s to %s: %s%s", method, what, caller, rule, again)
