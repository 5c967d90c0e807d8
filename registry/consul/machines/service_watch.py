"""What a watch of one Consul service believes: a pure machine. Its shell does the I/O.

    INIT --answer--> LIVE --error--> STALE --answer--> LIVE
                                       ^--error--'

When to ask what is its cursor's to say. An answer may come back empty before the others are registered again, so what
vanishes when a server may have restarted is believed in for a while.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshcore.core.instances import Instance

from .cursor import Cursor, Query

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

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
        cursor: of its queries.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.state = State.INIT
        self.cursor = Cursor(rng)
        self._good: dict[str, Entry] = {}
        self._held: dict[str, float] = {}  # until when what vanished is believed in
        self._published: News = None

    def query(self, now: float) -> Query:
        """What to ask next; it ends when there is something to stop believing in."""
        return self.cursor.query(now, min(self._held.values(), default=inf))

    @property
    def due(self) -> float:
        """When it must be asked even if nothing tells of a change; infinity if only then."""
        return min(self._held.values(), default=inf) if self.cursor.index else self.cursor.not_before

    def answered(self, now: float, index: int, entries: Iterable[Entry], *, leader: bool = True) -> News:
        """An answer with status 200 came.

        Args:
            now: the time.
            index: X-Consul-Index.
            entries: all registrations of the service, with their health.
            leader: X-Consul-KnownLeader. Newer versions deny it wrongly at times, so it is a hint only: what is there
                is believed, what vanished is not, for a while.
        """
        if not self.cursor.answered(index):
            return None
        found = {entry.key: entry for entry in entries}
        well = {key for key, entry in found.items() if entry.level is not Level.CRITICAL}
        self._hold(well, now, suspicious=self.cursor.doubtful or not leader)
        self.state = State.LIVE
        self._good = {**found, **{key: self._good[key] for key in self._held}}
        return self._news(_chosen(self._good))

    def failed(self, now: float, cause: str, *, refused: bool = False) -> News:
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
