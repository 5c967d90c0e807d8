"""What a watch of Consul's keys believes: a pure machine. Its shell does the I/O.

The rules are those of `service_watch`, with one difference. Instances register themselves again when a Consul comes
back without its data, keys do not: somebody has to write them. So of what vanishes over a restart

- single keys are believed in for as long as a script takes to write all of them again,
- all of them at once are believed in until one is there again. Nobody has deleted them: that would have been seen.

The same holds when keys vanish and the index has not moved: then the token has lost its right to read them, which
Consul answers like a deletion.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from .cursor import Cursor, Query
from .service_watch import HOLD, Lost, State

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping


class KeyWatch:
    """The machine of one prefix.

    Call `query`, ask, and tell the outcome by `answered` or `failed`, which say what to publish, None for nothing; over
    and over.

    Attributes:
        state: where it stands.
        cursor: of its queries.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.state = State.INIT
        self.cursor = Cursor(rng)
        self._good: Mapping[str, bytes] = {}
        self._held: dict[str, float] = {}  # until when what vanished is believed in
        self._published: Mapping[str, bytes] | Lost | None = None

    def query(self, now: float) -> Query:
        """What to ask next; it ends when there is something to stop believing in."""
        return self.cursor.query(now, min(self._held.values(), default=inf))

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
        if not self.cursor.answered(index):
            return None
        vanished = self._good.keys() - found.keys()
        suspicious = self.cursor.doubtful or not leader
        self._held = self._holding(vanished, now, suspicious=suspicious, empty=not found)
        self.state = State.LIVE
        self._good = {**{key: self._good[key] for key in self._held}, **found}
        if self._good == self._published:
            return None
        self._published = self._good
        return self._good

    def failed(self, now: float, cause: str, *, refused: bool = False) -> Lost | None:
        """No answer came, or none with status 200.

        Args:
            now: the time.
            cause: for people.
            refused: time alone will not heal it.
        """
        self.cursor.failed(now, refused=refused)
        self.state = State.STALE
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
