"""The watch of a key prefix: which keys and values are published. Does no I/O.

Instances register again after a restart of Consul that lost its data. Keys do not: a script or a person has to write
them. So of the keys that vanish in a restart

- single ones are kept for as long as a script needs to write all of them again,
- all of them at once are kept until one is there again: a deletion of all would have been seen as such.

The same holds when keys vanish and the index has not moved. Then the token has lost its right to read them, and Consul
answers as if they were deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING

from .watch import HOLD, State, Watch

if TYPE_CHECKING:
    import random


class KeyWatch(Watch[Mapping[str, bytes]]):
    """The watch of one prefix."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._known: Mapping[str, bytes] = {}

    def answered(
        self, now: float, index: int, found: Mapping[str, bytes], *, leader: bool = True
    ) -> Mapping[str, bytes] | None:
        """Report an answer with status 200, or with 404, which means that there is no key.

        Args:
            now: the time.
            index: X-Consul-Index.
            found: all keys with their values.
            leader: X-Consul-KnownLeader.
        """
        if not self.requests.answered(index):
            return None
        vanished = self._known.keys() - found.keys()
        doubtful = self.requests.doubtful or not leader
        self._kept_until = self._keep(vanished, now, doubtful=doubtful, empty=not found)
        self.state = State.LIVE
        self._known = {**{key: self._known[key] for key in self._kept_until}, **found}
        return self._publish(self._known)

    def _keep(self, vanished: set[str], now: float, *, doubtful: bool, empty: bool) -> dict[str, float]:
        """Return the vanished keys that are kept, and until when."""
        kept: dict[str, float] = {}
        hold = now + self._rng.uniform(*HOLD)
        for key in vanished:
            until = self._kept_until.get(key)
            if until is None:
                if doubtful:
                    kept[key] = inf if empty else hold
            elif until == inf:
                kept[key] = inf if empty else hold
            elif until > now:
                kept[key] = until
        return kept
