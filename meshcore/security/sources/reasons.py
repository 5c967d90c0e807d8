"""Logs why new certificates cannot be had: each reason once."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class Reasons:
    """Remembers the reason that was logged last."""

    def __init__(self) -> None:
        self._reason = ""

    def tell(self, reason: str) -> None:
        """Log a reason, unless it is that of before. Empty if nothing is wrong any more."""
        if reason and reason != self._reason:
            log.warning("certificates could not be renewed, and the last ones stay in use: %s", reason)
        self._reason = reason
