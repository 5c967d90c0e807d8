"""What a watch of Consul's keys asks next, and what it believes: a pure machine. Its shell does the I/O.

The rules are those of `registry.consul_watch`, with one difference. Instances register themselves again when a Consul
comes back without its data, keys do not: somebody has to write them. So of what vanishes over a restart

- single keys are believed in for as long as a script takes to write all of them again,
- all of them at once are believed in until one is there again. Nobody has deleted them: that would have been seen.

The same holds when keys vanish and the index has not moved: then the token has lost its right to read them, which
Consul answers like a deletion.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from registry.consul_watch import BACKOFF_FIRST, BACKOFF_MAX, GAP, HOLD, REFUSED, WAIT, WAIT_FIRST, Lost, Query, State

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping


class KeyWatch:
    """The machine of one prefix.

    Call `query`, ask, and tell the outcome by `answered` or `failed`, which say what to publish, None for nothing; over
    and over.

    Attributes:
        state: where it stands.
        index: what the next query blocks on; 0 for one that does not block.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.state = State.INIT
        self.index = 0
        self._begun = -inf  # the last query
        self._not_before = -inf
        self._errors = 0  # in a row
        self._asked = 0  # the index of the last query
        self._wait = WAIT_FIRST
        self._reset = False  # the next answer is the first of a Consul that may have forgotten
        self._good: Mapping[str, bytes] = {}
        self._held: dict[str, float] = {}  # until when what vanished is believed in
        self._published: Mapping[str, bytes] | Lost | None = None

    def query(self, now: float) -> Query:
        """What to ask next."""
        gap = self._begun + GAP + self._rng.uniform(0.0, GAP)
        self._begun = at = max(now, gap, self._not_before)
        self._asked = self.index
        if not self.index:
            return Query(at, 0, 0.0, 10.0)
        # It ends when there is something to stop believing in; to the second is good enough.
        wait = min([self._wait, *(max(1.0, until - at) for until in self._held.values())])
        return Query(at, self.index, wait, wait * 17 / 16 + 5.0)

    def answered(
        self, now: float, index: int, found: Mapping[str, bytes], *, leader: bool = True
    ) -> Mapping[str, bytes] | None:
        """An answer came; that there is no key at all is one.

        Args:
            now: the time.
            index: X-Consul-Index.
            found: all keys with their values.
            leader: X-Consul-KnownLeader.
        """
        if index < self.index:
            # Another server, or one that forgot; or Consul has swept what it knew of old deletions.
            self.index, self._reset = 0, True
            return None
        self.index = max(index, 1)
        self._errors, self._not_before = 0, -inf
        vanished = self._good.keys() - found.keys()
        unmoved = self._asked == self.index
        quiet = unmoved and not vanished - self._held.keys()
        suspicious = self._reset or not leader or unmoved
        self._held = self._holding(vanished, now, suspicious=suspicious, empty=not found)
        self._wait = min(2.0 * self._wait, WAIT) if quiet else WAIT_FIRST
        self._reset = False
        self.state = State.LIVE
        self._good = {**{key: self._good[key] for key in self._held}, **found}
        if self._good == self._published:
            return None
        self._published = self._good
        return self._good

    def failed(self, now: float, cause: str, *, refused: bool = False) -> Lost | None:
        """No answer came, or an error. An index that came with it means nothing.

        Args:
            now: the time.
            cause: for people.
            refused: time alone will not heal it.
        """
        self.index, self._reset, self.state = 0, True, State.STALE
        self._wait = WAIT_FIRST
        if refused:
            self._not_before = now + self._rng.uniform(0.9, 1.0) * REFUSED
        else:
            longest = min(BACKOFF_MAX, BACKOFF_FIRST * 2.0 ** min(self._errors, 16))
            self._not_before = now + self._rng.uniform(0.0, longest)
            self._errors += 1
        if isinstance(self._published, Lost) and self._published.refused == refused:
            return None  # the first cause says it
        self._published = Lost(cause, refused)
        return self._published

    def _holding(self, vanished: set[str], now: float, *, suspicious: bool, empty: bool) -> dict[str, float]:
        """Of what is no longer there, what is believed in, and until when."""
        held: dict[str, float] = {}
        fresh = now + self._rng.uniform(*HOLD)
        for key in vanished:
            until = self._held.get(key)
            if until is None:
                if suspicious:
                    held[key] = inf if empty else fresh
            elif until == inf:
                held[key] = inf if empty else fresh
            elif until > now:
                held[key] = until
        return held
