"""Which of very many watched services is read next, and why: a pure machine. Its shell does the I/O.

A blocking query for each of a thousand components is a thousand connections, of which an agent allows 200 for all
processes of a machine. So these share three blocking queries, whose answers say where to look, and few reads:

- `catalog/services` ends with every registration and deregistration. Its answer has the tags of each service, and an
  instance of ours has a tag that is another for each other registration. So whoever has other tags is read.
- Instances that are not ours have no such tag. So if nobody has other tags, all checks are read once, and a service
  whose set of checks is another than before is read. If somebody has, that is done later, in case a foreign one has
  changed at the same time.
- `health/state/critical` and `health/state/warning` end with every change of health, and their answers are as long as
  the trouble is wide. Whoever comes, goes or changes there is read. They stay silent while the heartbeats and outputs
  of healthy instances change, which a query for the checks of all states would not.

What neither shows (a foreign service without a check, or with other Meta under the same id) is found by reading
everybody after the catalog told of a change that nothing explains; and all are read every few minutes whatever happens.

What is believed of each service is decided by a `ConsulWatch`, as for those with a query of their own.
"""

from __future__ import annotations

import heapq
from collections import deque
from math import inf
from typing import TYPE_CHECKING

from .cursor import BACKOFF_MAX, GAP, pause_after
from .service_watch import ConsulWatch, News
from .steps import Idle, ReadChecks, ReadService, Step

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping, Sequence

    from ..api.types import CheckRow
    from .service_watch import Entry

READS = 4
"""At once, of services. One of them is kept for those of whom a change is told."""

SWEEP = 120.0
"""Each service is read about so often even if nothing tells of a change."""

UNEXPLAINED = 10.0
"""Between the starts of two rounds through all services after changes that no check shows."""

AGAIN = 1.0
"""When a change was told and the read shows none, a server was behind perhaps: it is read once more after this."""

LATER = 5.0
"""Until the checks are read after a change that tags explain."""

COST, SHARE, BURST = 10e-6, 0.2, 0.5
"""A check that is read takes COST seconds of CPU, most of it the agent's. All of them are read at any time until that
comes to BURST seconds, then so rarely that it takes this SHARE of a core. What a look took by the clock is no measure:
on a busy machine that is much, and to ask more rarely then makes what is known older still."""


class _Member:
    def __init__(self, watch: ConsulWatch) -> None:
        self.watch = watch
        self.due = -inf  # when it is read though nothing is told of it
        self.begun = -inf  # the last read
        self.reading = 0  # the number of the read under way
        self.told = False  # of a change that no read has begun after
        self.told_before = False  # the read under way is because of one
        self.keys: tuple[str, ...] = ()  # of its registrations; a node's comes first


class Crowd:
    """The machine of all services that share queries.

    Call `step` until it says `Idle`, and again after anything was told.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._members: dict[str, _Member] = {}
        self._urgent: deque[str] = deque()
        self._timed: list[tuple[float, str]] = []
        self._reads = 0
        self._last_read = 0  # its number
        self._lost: tuple[str, bool] | None = None  # cause, refused
        self._live = False  # the catalog answers
        self._editions: Mapping[str, frozenset[str]] = {}
        self._index = 0  # of the catalog
        self._unexplained = 0  # the last of its indexes that came with no other tags
        self._rows: dict[str, dict[tuple[str, str], tuple[str, int]]] = {}  # by state
        self._digests: dict[str, int] | None = None  # of each service's checks
        self._digests_index = 0
        self._wanted = -inf  # when all checks are to be read; infinity if not at all
        self._checking = False
        self._checks_not_before = -inf
        self._spent, self._spent_at = 0.0, 0.0
        self._swept = -inf
        self._errors = 0  # of reads, in a row
        self._reads_not_before = -inf

    def add(self, name: str, now: float) -> News:
        """A service is watched from now on; what can be told at once."""
        member = self._members[name] = _Member(ConsulWatch(self._rng))
        self._plan(name, member, now)
        if self._lost is None:
            return None
        cause, refused = self._lost
        return member.watch.failed(now, cause, refused=refused)

    def remove(self, name: str) -> None:
        """A service is no longer watched. A read that is under way tells nobody anything."""
        member = self._members.pop(name, None)
        if member is not None and member.reading:
            self._reads -= 1

    def step(self, now: float) -> Step:
        """What to do next."""
        if not self._live or not self._members:
            return Idle(inf)
        if self._allowed(now):
            # Before the services themselves: what changes after this shows as a difference to it.
            self._wanted, self._checking = inf, True
            return ReadChecks()
        wake = self._next_checks(now)
        if self._digests is None:
            return Idle(wake)
        if now < self._reads_not_before:
            return Idle(min(wake, self._reads_not_before))
        name = self._next_told() or self._next_timed(now)
        if name is not None:
            return self._read(name, now)
        return Idle(min(wake, self._timed[0][0]) if self._timed and self._reads < READS - 1 else wake)

    def catalog(self, editions: Mapping[str, frozenset[str]], now: float, index: int) -> None:
        """The catalog answered, with this index. A wait that ended has the index of before.

        Args:
            editions: of each service that exists, the tags that tell one registration from another.
            now: the time.
            index: X-Consul-Index.
        """
        before, self._editions = self._editions, editions
        changed, self._index = index != self._index, index
        if self._live:
            others = [name for name in before.keys() | editions if before.get(name) != editions.get(name)]
            for name in others:
                self.told(name, now)
            if others:
                self._wanted = min(self._wanted, now + LATER)
            elif changed:
                self._wanted, self._unexplained = min(self._wanted, now), index
            return
        # It may have forgotten everything. What is believed of it is the watches' to say.
        self._live, self._lost, self._digests, self._wanted = True, None, None, now
        self._errors, self._reads_not_before, self._checks_not_before = 0, -inf, -inf
        for name, member in self._members.items():
            member.told = False
            self._plan(name, member, now, latest=now)

    def lost(self, cause: str, now: float, *, refused: bool = False) -> list[tuple[str, News]]:
        """The catalog does not answer; what is to be told of each service. Nobody is read until it does."""
        if not self._live and self._lost is not None and self._lost[1] == refused:
            return []  # it is told already
        self._live, self._lost = False, (cause, refused)
        return [
            (name, news)
            for name, member in self._members.items()
            if (news := member.watch.failed(now, cause, refused=refused)) is not None
        ]

    def rest(self) -> None:
        """The catalog is no longer asked, as nobody is watched; what it told is not to be trusted when that changes."""
        self._live, self._lost = False, None

    def checked(self, rows: Sequence[CheckRow], now: float, index: int) -> None:
        """All checks were read; the answer had this index."""
        self._checking = False
        self._spent = self._spent_now(now) + COST * len(rows)
        # Not when a check changed last, but when it was made: of the changes tell the other two queries. The order of
        # rows says nothing, so what stands for a service is a sum.
        digests: dict[str, int] = {}
        for row in rows:
            digests[row.service] = digests.get(row.service, 0) + hash((row.node, row.check_id, row.made))
        before, self._digests = self._digests, digests
        known, self._digests_index = self._digests_index, index
        if index >= self._index:
            self._wanted = inf  # also of what the catalog told during the read
        if before is None:
            return
        changed = [name for name in before.keys() | digests.keys() if before.get(name) != digests.get(name)]
        for name in changed:
            self.told(name, now)
        if not changed and known < self._unexplained:
            self._sweep(now)

    def unchecked(self, now: float) -> None:
        """The checks could not be read. What changed is found by reading everybody; they are tried again."""
        self._checking = False
        self._wanted = now
        self._checks_not_before = now + self._rng.uniform(0.5, 1.0) * BACKOFF_MAX
        if self._digests is None:
            self._digests = {}
        self._sweep(now)

    def unwell(self, state: str, rows: Iterable[CheckRow], now: float) -> None:
        """The checks in this state, one that is not passing."""
        found = {(row.node, row.check_id): (row.service, row.changed) for row in rows}
        before = self._rows.get(state, {})
        self._rows[state] = found
        for key in before.keys() | found.keys():
            if before.get(key) != found.get(key):
                name, _ = found.get(key) or before[key]
                for each in (name,) if name else self._on(key[0]):
                    self.told(each, now)

    def told(self, name: str, now: float) -> None:
        """Something of a service has changed."""
        member = self._members.get(name)
        if member is None or member.told:
            return
        member.told = True
        if member.reading:
            return  # and again afterwards
        if now >= max(member.begun + 2 * GAP, member.watch.cursor.not_before):
            self._urgent.append(name)
        else:
            self._plan(name, member, now)

    def answered(self, read: ReadService, now: float, index: int, entries: list[Entry], *, leader: bool) -> News:
        """A service was read; what to publish."""
        member = self._done(read)
        if member is None:
            return None
        self._errors = 0
        news = member.watch.answered(now, index, entries, leader=leader)
        # Nothing new may be a server that is behind. Once more, but only once: a change may well concern nobody.
        again = member.told_before and news is None
        member.keys = tuple(entry.key for entry in entries)
        self._plan(read.name, member, now, latest=now + AGAIN if again else inf)
        return news

    def failed(self, read: ReadService, now: float, cause: str, *, refused: bool = False) -> News:
        """A service could not be read; what to publish."""
        member = self._done(read)
        if member is None:
            return None
        if not refused:
            # Others will fare no better. One watch of its own would back off alone; a thousand must do so together.
            self._reads_not_before = max(self._reads_not_before, now + pause_after(self._errors, self._rng))
            self._errors += 1
        news = member.watch.failed(now, cause, refused=refused)
        self._plan(read.name, member, now)
        return news

    def _next_told(self) -> str | None:
        while self._urgent and self._reads < READS:
            name = self._urgent.popleft()
            member = self._members.get(name)
            if member is not None and member.told and not member.reading:
                return name
        return None

    def _next_timed(self, now: float) -> str | None:
        while self._timed and self._reads < READS - 1:
            due, name = self._timed[0]
            member = self._members.get(name)
            outdated = member is None or member.due != due or member.reading
            if not outdated and due > now:
                return None
            heapq.heappop(self._timed)
            if not outdated:
                return name
        return None

    def _read(self, name: str, now: float) -> ReadService:
        member = self._members[name]
        member.watch.query(now)  # it is not asked to block, but is to know of it
        self._reads += 1
        self._last_read += 1
        member.reading, member.begun = self._last_read, now
        member.told, member.told_before = False, member.told
        return ReadService(name, member.reading)

    def _done(self, read: ReadService) -> _Member | None:
        member = self._members.get(read.name)
        if member is None or member.reading != read.number:
            return None  # it was removed meanwhile
        member.reading = 0
        self._reads -= 1
        return member

    def _plan(self, name: str, member: _Member, now: float, latest: float = inf) -> None:
        """When it is read next if nothing is told of it, or if what was told comes too soon after the last read."""
        soonest = member.begun + 2 * GAP
        due = min(member.watch.due, latest, now + self._rng.uniform(0.75, 1.25) * SWEEP)
        if member.told:
            due = max(now, member.watch.cursor.not_before)
        member.due = max(due, soonest)
        heapq.heappush(self._timed, (member.due, name))

    def _sweep(self, now: float) -> None:
        if self._swept > now:
            return  # that round will see it
        self._swept = start = max(now, self._swept + UNEXPLAINED)
        for name, member in self._members.items():
            if member.reading:
                member.told = True
            elif member.due > start:
                member.due = start
                heapq.heappush(self._timed, (start, name))

    def _on(self, node: str) -> list[str]:
        """The services with a registration on a node: what its own check says is about all of them."""
        start = f"{node}/"
        return [name for name, each in self._members.items() if any(key.startswith(start) for key in each.keys)]

    def _spent_now(self, now: float) -> float:
        left = max(0.0, self._spent - SHARE * (now - self._spent_at))
        self._spent_at = now
        return left

    def _allowed(self, now: float) -> bool:
        self._spent = self._spent_now(now)
        return self._next_checks(now) <= now

    def _next_checks(self, now: float) -> float:
        if self._checking:
            return inf
        affordable = now + (self._spent - BURST) / SHARE if self._spent > BURST else now
        return max(self._wanted, affordable, self._checks_not_before)
