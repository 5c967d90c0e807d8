"""Keeps encoded outcomes of calls for a while, by idempotency key."""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

OVERHEAD = 500
"""Bytes that each outcome counts in addition to its data and its key: for the entry and its place in the table."""


class _Kept(msgspec.Struct, frozen=True):
    data: bytes
    until: float
    size: int


class OutcomeStore:
    """A store with a limit in bytes, and a time to live for each entry. The oldest go first. Pure: reads no clock.

    Args:
        memory: the limit.

    Attributes:
        size: bytes in use.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._kept: dict[Hashable, _Kept] = {}  # the oldest first
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, now: float) -> bytes | None:
        """The outcome for a key, None if there is none or it has expired."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now < kept.until:
            return kept.data
        self._drop(key)
        return None

    def keep(self, key: Hashable, data: bytes, seconds: float, now: float, key_size: int = 0) -> bool:
        """Keep an outcome for some seconds. Returns False if it is larger than the limit."""
        size = len(data) + OVERHEAD + key_size
        if size > self._memory:
            return False
        if key in self._kept:
            self._drop(key)
        self._kept[key] = _Kept(data, now + seconds, size)
        self.size += size
        while self._kept and (self.size > self._memory or self._oldest().until <= now):
            self._drop(next(iter(self._kept)))
        return True

    def _oldest(self) -> _Kept:
        return next(iter(self._kept.values()))

    def _drop(self, key: Hashable) -> None:
        self.size -= self._kept.pop(key).size
