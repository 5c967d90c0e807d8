"""The watch of a service: which of its instances are published. Does no I/O."""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshcore.core.instances import Instance

from .watch import HOLD, State, Unreachable, Watch

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet


class Level(Enum):
    """The worst status among the checks of an instance."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


class Entry(msgspec.Struct, frozen=True):
    """One registration.

    Attributes:
        key: its node and its id, since an id is unique on its agent only.
        level: its health.
        instance: the instance.
    """

    key: str
    level: Level
    instance: Instance


class Selected(msgspec.Struct, frozen=True):
    """Publish these instances.

    Attributes:
        instances: ordered by id.
        with_critical: critical instances are among them, since no other one offers their channels.
    """

    instances: tuple[Instance, ...]
    with_critical: bool = False


Update: TypeAlias = Selected | Unreachable | None
"""What to publish."""


class ServiceWatch(Watch[Selected]):
    """The watch of one service."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._known: dict[str, Entry] = {}

    @property
    def due(self) -> float:
        """When the service must be read although no change was reported; infinity if not at all."""
        if not self.requests.index:
            return self.requests.not_before
        return min(self._kept_until.values(), default=inf)

    def answered(self, now: float, index: int, entries: Iterable[Entry], *, leader: bool = True) -> Selected | None:
        """Report an answer with status 200.

        Args:
            now: the time.
            index: X-Consul-Index.
            entries: all registrations of the service, with their health.
            leader: X-Consul-KnownLeader. Newer versions of Consul sometimes deny it wrongly. So without it the entries
                that are there are used, and those that vanished are kept.
        """
        if not self.requests.answered(index):
            return None
        found = {entry.key: entry for entry in entries}
        healthy = {key for key, entry in found.items() if entry.level is not Level.CRITICAL}
        self._keep(healthy, now, doubtful=self.requests.doubtful or not leader)
        self.state = State.LIVE
        self._known = {**found, **{key: self._known[key] for key in self._kept_until}}
        return self._publish(_select(self._known))

    def _keep(self, healthy: AbstractSet[str], now: float, *, doubtful: bool) -> None:
        """Keep what vanishes in a doubtful answer. What is kept already is dropped at its time.

        An instance that is critical in a doubtful answer counts as vanished: its heartbeats did not reach an agent that
        was away.
        """
        kept = {key: until for key, until in self._kept_until.items() if key not in healthy and until > now}
        if doubtful:
            until = now + self._rng.uniform(*HOLD)
            for key, entry in self._known.items():
                if key not in healthy and key not in self._kept_until and entry.level is not Level.CRITICAL:
                    kept[key] = until
        self._kept_until = kept


def _select(entries: Mapping[str, Entry]) -> Selected:
    """Select the passing instances. Add those with a warning if they outnumber them.

    All calls on the last passing instance would only overload it. Critical instances are selected where nothing else
    is left: then the checks may be wrong. Both rules hold for each channel, since instances may offer different ones.
    """
    levels: dict[Level, list[Instance]] = {level: [] for level in Level}
    for entry in entries.values():
        levels[entry.level].append(entry.instance)
    passing, warning, critical = levels[Level.PASSING], levels[Level.WARNING], levels[Level.CRITICAL]
    selected = passing if len(passing) >= len(warning) else passing + warning
    selected = selected + _for_missing_channels(selected, warning)
    last_resort = _for_missing_channels(selected, critical)
    return Selected(_sorted(selected + last_resort), with_critical=bool(last_resort))


def _for_missing_channels(selected: list[Instance], others: list[Instance]) -> list[Instance]:
    """Return the others, reduced to the channels that none of the selected offers."""
    offered = {address.channel for instance in selected for address in instance.addresses}
    found: list[Instance] = []
    for other in others:
        addresses = tuple(address for address in other.addresses if address.channel not in offered)
        if addresses or not selected:
            found.append(msgspec.structs.replace(other, addresses=addresses))
    return found


def _sorted(instances: list[Instance]) -> tuple[Instance, ...]:
    """Sort by id, each id once: a process that is registered with two agents is still one instance."""
    by_id = {instance.id: instance for instance in instances}
    return tuple(by_id[each] for each in sorted(by_id))
