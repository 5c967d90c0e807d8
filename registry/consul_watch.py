"""What a watch of one Consul service asks next, and what it believes: a pure machine. Its shell does the I/O.

A blocking query gives the index of the last answer and returns when something is newer, or when its wait ends. Around
that simple idea lies what goes wrong: servers that forget (the index falls), that answer with an error and an index
that must not be used, that come back empty before the others are registered again, or that never answer.

    INIT --answer--> LIVE --error--> STALE --answer--> LIVE
                                       ^--error--'

The rules are those of Consul's page on blocking queries, of consul-template's `watch/view.go`, and of measurements
with a real agent. Times are seconds, and arguments.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshcore.instances import Instance

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

WAIT = 30.0
"""How long a query is held. Not Consul's five minutes: an index above the server's blocks for the whole wait."""

WAIT_FIRST = 2.0
"""How long the first query after news is held; each quiet one doubles it. An agent that restarts between two queries
breaks no connection, and if its index is near the old one nothing shows it: then this is how long a watch is blind."""

GAP = 0.05
"""Between the starts of two queries, and up to as much again by chance: a storm of changes is read in few answers."""

BACKOFF_FIRST, BACKOFF_MAX = 0.1, 5.0
"""The pause after an error is a random part of a bound that doubles from the first to the last of these."""

REFUSED = 30.0
"""The pause after an error that time alone does not heal, such as a token that is not allowed to read."""

HOLD = (10.0, 15.0)
"""How long what vanished over a restart of Consul is still believed in: longer than the others need to come back."""


class Level(Enum):
    """What the checks of an instance say, the worst of them."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


class Entry(msgspec.Struct, frozen=True):
    """One registration. Its key is the node and the id: an id is unique on its agent only."""

    key: str
    level: Level
    instance: Instance


class Query(msgspec.Struct, frozen=True):
    """What to ask: not before `at`, blocking on `index` for `wait` unless it is 0, given up after `timeout`."""

    at: float
    index: int
    wait: float
    timeout: float


class Seen(msgspec.Struct, frozen=True):
    """Publish these instances; `desperate` if all are critical and nobody better is there."""

    instances: tuple[Instance, ...]
    desperate: bool = False


class Lost(msgspec.Struct, frozen=True):
    """Publish that nothing can be told; what was published before stays good."""

    cause: str
    refused: bool = False


News: TypeAlias = Seen | Lost | None


class State(Enum):
    """Where a watch stands."""

    INIT = "init"
    LIVE = "live"
    STALE = "stale"


class ConsulWatch:
    """The machine of one service.

    Call `query`, ask, and tell the outcome by `answered` or `failed`, which say what to publish; over and over.

    Attributes:
        state: where it stands.
        index: what the next query blocks on; 0 for one that does not block.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.state = State.INIT
        self.index = 0
        self._begun = float("-inf")  # the last query
        self._not_before = float("-inf")
        self._errors = 0  # in a row
        self._asked = 0  # the index of the last query
        self._wait = WAIT_FIRST
        self._reset = False  # the next answer is the first of a Consul that may have forgotten
        self._good: dict[str, Entry] = {}
        self._held: dict[str, float] = {}  # until when what vanished is believed in
        self._published: News = None

    def query(self, now: float) -> Query:
        """What to ask next."""
        gap = self._begun + GAP + self._rng.uniform(0.0, GAP)
        self._begun = at = max(now, gap, self._not_before)
        self._asked = self.index
        if not self.index:
            return Query(at, 0, 0.0, 10.0)
        # It ends when there is something to stop believing in; to the second is good enough.
        wait = min([self._wait, *(max(1.0, until - at) for until in self._held.values())])
        # Consul itself adds up to a sixteenth. A frozen agent never answers: only this ends the query then.
        return Query(at, self.index, wait, wait * 17 / 16 + 5.0)

    @property
    def not_before(self) -> float:
        """Before this nothing is asked, whatever happens: the pause after an error."""
        return self._not_before

    @property
    def due(self) -> float:
        """When it must be asked even if nothing tells of a change; infinity if only then."""
        return min(self._held.values(), default=float("inf")) if self.index else self._not_before

    def answered(self, now: float, index: int, entries: Iterable[Entry], *, leader: bool = True) -> News:
        """An answer with status 200 came.

        Args:
            now: the time.
            index: X-Consul-Index.
            entries: all registrations of the service, with their health.
            leader: X-Consul-KnownLeader. Newer versions deny it wrongly at times, so it is a hint only: what is there
                is believed, what vanished is not, for a while.
        """
        if index < self.index:
            # Another server, or one that forgot. Its answer is right perhaps, but not for this query.
            self.index, self._reset = 0, True
            return None
        self.index = max(index, 1)
        self._errors, self._not_before = 0, float("-inf")
        found = {entry.key: entry for entry in entries}
        well = {key for key, entry in found.items() if entry.level is not Level.CRITICAL}
        same = found.keys() | self._held.keys() == self._good.keys()
        # Without a change the index stays. If only the index has, it is another server's.
        other = self._asked == self.index and not same
        self._hold(well, now, suspicious=self._reset or other or not leader)
        self._wait = min(2.0 * self._wait, WAIT) if same else WAIT_FIRST
        self._reset = False
        self.state = State.LIVE
        self._good = {**found, **{key: self._good[key] for key in self._held}}
        return self._news(_chosen(self._good))

    def failed(self, now: float, cause: str, *, refused: bool = False) -> News:
        """No answer came, or none with status 200. An index that came with it means nothing.

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
        return self._news(Lost(cause, refused))

    def _hold(self, well: AbstractSet[str], now: float, *, suspicious: bool) -> None:
        """What vanished without a restart has gone, and so has what was seen after one. Else it gets its time.

        Who is critical at once then has vanished as well: heartbeats did not reach an agent that was away, either.
        """
        held = {key: until for key, until in self._held.items() if key not in well and until > now}
        if suspicious:
            until = now + self._rng.uniform(*HOLD)
            for key, entry in self._good.items():
                if key not in well and key not in self._held and entry.level is not Level.CRITICAL:
                    held[key] = until
        self._held = held

    def _news(self, news: Seen | Lost) -> News:
        if news == self._published:
            return None
        self._published = news
        return news


def _chosen(entries: Mapping[str, Entry]) -> Seen:
    """Those who pass, as long as they are half of those that work at all; else those with a warning too.

    All calls on the last that passes would be no help to it. The worse ones are asked when there is nobody else: it may
    well be the checks that are wrong then. That goes for each channel, since instances may offer different ones.
    """
    levels: dict[Level, list[Instance]] = {level: [] for level in Level}
    for entry in entries.values():
        levels[entry.level].append(entry.instance)
    passing, warning, critical = levels[Level.PASSING], levels[Level.WARNING], levels[Level.CRITICAL]
    chosen = passing if len(passing) >= len(warning) else passing + warning
    chosen = chosen + _only_there(chosen, warning)
    desperate = _only_there(chosen, critical)
    return Seen(_sorted(chosen + desperate), desperate=bool(desperate))


def _only_there(chosen: list[Instance], others: list[Instance]) -> list[Instance]:
    """The others, with the channels that none of the chosen offers."""
    offered = {address.channel for instance in chosen for address in instance.addresses}
    found: list[Instance] = []
    for other in others:
        addresses = tuple(address for address in other.addresses if address.channel not in offered)
        if addresses or not chosen:
            found.append(msgspec.structs.replace(other, addresses=addresses))
    return found


def _sorted(instances: list[Instance]) -> tuple[Instance, ...]:
    """By id, each id once: a process that is registered with two agents is still one."""
    by_id = {instance.id: instance for instance in instances}
    return tuple(by_id[each] for each in sorted(by_id))
