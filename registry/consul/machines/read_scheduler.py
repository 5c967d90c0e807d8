"""Decides which of many watched services to read next. Does no I/O.

A blocking query for each of a thousand components would take a thousand connections. An agent allows 200 for all
processes of a machine. So these services share three blocking queries, whose answers say which services to read:

- `catalog/services` answers after each registration and deregistration, with the tags of each service. An instance of
  meshcore has an edition tag, which differs for each registration. Services whose edition tags change are read.
- Other instances have no such tag. If the catalog changes but no edition tag does, the checks of all services are read,
  and then the services whose set of checks has changed. If edition tags do change, the checks are read a little later:
  another instance may have changed at the same time.
- `health/state/critical` and `health/state/warning` answer after each change of health, with the unhealthy checks only.
  Services whose unhealthy checks change are read. Heartbeats and outputs of passing checks wake neither query, unlike a
  query for the checks of all states.

All services are read when the catalog has changed but neither tags nor checks show how (another instance without a
check, or with other Meta under the same id), and every few minutes in any case.

A `ServiceWatch` for each service decides what is published.
"""

from __future__ import annotations

import heapq
from collections import deque
from math import inf
from typing import TYPE_CHECKING

from .blocking_query import GAP, backoff
from .checks import Checks
from .service_watch import ServiceWatch, Update
from .steps import Idle, ReadChecks, ReadService, Step

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping, Sequence

    from ..api.types import CheckRow
    from .service_watch import Entry

READS = 4
"""Services that are read at the same time. One of these reads is reserved for services that have changed."""

REFRESH = 120.0
"""How often each service is read without a reported change, about."""

FULL_READ_GAP = 10.0
"""Least time between two reads of all services after changes that neither tags nor checks show."""

REREAD = 1.0
"""When to read a changed service again if the first read shows no change: the server may have been behind."""

CHECKS_DELAY = 5.0
"""When to read the checks of all services after a change that edition tags show."""


class _Service:
    def __init__(self, watch: ServiceWatch) -> None:
        self.watch = watch
        self.due = -inf  # when it is read without a reported change
        self.begun = -inf  # the start of the last read
        self.reading = 0  # the number of the read in progress
        self.changed = False  # since the start of the last read
        self.changed_before = False  # the reason of the read in progress
        self.keys: tuple[str, ...] = ()  # of its registrations; each begins with the node


class ReadScheduler:
    """Call `step` until it returns `Idle`, and again after each report."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._services: dict[str, _Service] = {}
        self._urgent: deque[str] = deque()  # changed ones
        self._timed: list[tuple[float, str]] = []  # a heap of the others by `due`; outdated pairs stay in it
        self._reads = 0  # in progress
        self._last_read = 0  # its number
        self._failure: tuple[str, bool] | None = None  # of the catalog: cause, permanent
        self._live = False  # the catalog answers
        self._editions: Mapping[str, frozenset[str]] = {}
        self._index = 0  # of the catalog
        self._unexplained = 0  # the last index of the catalog that came without a change of edition tags
        self._unhealthy: dict[str, dict[tuple[str, str], tuple[str, int]]] = {}  # by state
        self._checks = Checks(rng)
        self._full_read_at = -inf
        self._errors = 0  # of reads, in a row
        self._reads_not_before = -inf  # the end of the backoff

    def add(self, name: str, now: float) -> Update:
        """Start to watch a service. Returns what can be published at once."""
        service = self._services[name] = _Service(ServiceWatch(self._rng))
        self._plan(name, service, now)
        if self._failure is None:
            return None
        cause, permanent = self._failure
        return service.watch.failed(now, cause, permanent=permanent)

    def remove(self, name: str) -> None:
        """Stop to watch a service. The outcome of a read in progress is ignored."""
        service = self._services.pop(name, None)
        if service is not None and service.reading:
            self._reads -= 1

    def step(self, now: float) -> Step:
        """Return what to do next."""
        if not self._live or not self._services:
            return Idle(inf)
        wake = self._checks.due(now)
        if wake <= now:
            # Before the services: a later change then shows as a difference to this answer.
            self._checks.begin()
            return ReadChecks()
        if not self._checks.known:
            return Idle(wake)
        if now < self._reads_not_before:
            return Idle(min(wake, self._reads_not_before))
        name = self._next_urgent() or self._next_timed(now)
        if name is not None:
            return self._read(name, now)
        return Idle(min(wake, self._timed[0][0]) if self._timed and self._reads < READS - 1 else wake)

    def catalog_answered(self, editions: Mapping[str, frozenset[str]], now: float, index: int) -> None:
        """Report an answer of the catalog.

        Args:
            editions: the edition tags of each service.
            now: the time.
            index: X-Consul-Index. It is the same as before when the wait ended without a change.
        """
        before, self._editions = self._editions, editions
        changed, self._index = index != self._index, index
        if self._live:
            others = [name for name in before.keys() | editions if before.get(name) != editions.get(name)]
            for name in others:
                self.changed(name, now)
            if others:
                self._checks.request(now + CHECKS_DELAY)
            elif changed:
                self._checks.request(now)
                self._unexplained = index
            return
        # The server may have lost its state. Each ServiceWatch decides what it keeps of that.
        self._live, self._failure = True, None
        self._checks.restart(now)
        self._errors, self._reads_not_before = 0, -inf
        for name, service in self._services.items():
            service.changed = False
            self._plan(name, service, now, latest=now)

    def catalog_failed(self, cause: str, now: float, *, permanent: bool = False) -> list[tuple[str, Update]]:
        """Report that the catalog does not answer. No service is read until it does.

        Returns:
            What to publish for each service.
        """
        if not self._live and self._failure is not None and self._failure[1] == permanent:
            return []  # published already
        self._live, self._failure = False, (cause, permanent)
        return [
            (name, update)
            for name, service in self._services.items()
            if (update := service.watch.failed(now, cause, permanent=permanent)) is not None
        ]

    def catalog_stopped(self) -> None:
        """Report that the catalog is not queried any more. The next answer may have missed changes."""
        self._live, self._failure = False, None

    def checks_answered(self, rows: Sequence[CheckRow], now: float, index: int) -> None:
        """Report the checks of all services, and the index of the answer."""
        before = self._checks.index
        changed = self._checks.answered(rows, now, index, self._index)
        if changed is None:
            return
        for name in changed:
            self.changed(name, now)
        if not changed and before < self._unexplained:
            self._read_all(now)

    def checks_failed(self, now: float) -> None:
        """Report that the checks could not be read. Then all services are read."""
        self._checks.failed(now)
        self._read_all(now)

    def unhealthy_answered(self, state: str, rows: Iterable[CheckRow], now: float) -> None:
        """Report the checks in a state, "critical" or "warning"."""
        found = {(row.node, row.check_id): (row.service, row.changed) for row in rows}
        before = self._unhealthy.get(state, {})
        self._unhealthy[state] = found
        for key in before.keys() | found.keys():
            if before.get(key) != found.get(key):
                name, _ = found.get(key) or before[key]
                for each in (name,) if name else self._on_node(key[0]):
                    self.changed(each, now)

    def changed(self, name: str, now: float) -> None:
        """Report that a service has changed."""
        service = self._services.get(name)
        if service is None or service.changed:
            return
        service.changed = True
        if service.reading:
            return  # it is read again afterwards
        if now >= max(service.begun + 2 * GAP, service.watch.requests.not_before):
            self._urgent.append(name)
        else:
            self._plan(name, service, now)

    def service_answered(
        self, read: ReadService, now: float, index: int, entries: list[Entry], *, leader: bool
    ) -> Update:
        """Report the answer to a read. Returns what to publish."""
        service = self._end(read)
        if service is None:
            return None
        self._errors = 0
        update = service.watch.answered(now, index, entries, leader=leader)
        # The server may have been behind. One more read, and no third one: the change may concern nothing published.
        again = service.changed_before and update is None
        service.keys = tuple(entry.key for entry in entries)
        self._plan(read.name, service, now, latest=now + REREAD if again else inf)
        return update

    def service_failed(self, read: ReadService, now: float, cause: str, *, permanent: bool = False) -> Update:
        """Report that a read failed. Returns what to publish."""
        service = self._end(read)
        if service is None:
            return None
        if not permanent:
            # The next service would fail as well. So all of them back off together.
            self._reads_not_before = max(self._reads_not_before, now + backoff(self._errors, self._rng))
            self._errors += 1
        update = service.watch.failed(now, cause, permanent=permanent)
        self._plan(read.name, service, now)
        return update

    def _next_urgent(self) -> str | None:
        while self._urgent and self._reads < READS:
            name = self._urgent.popleft()
            service = self._services.get(name)
            if service is not None and service.changed and not service.reading:
                return name
        return None

    def _next_timed(self, now: float) -> str | None:
        while self._timed and self._reads < READS - 1:
            due, name = self._timed[0]
            service = self._services.get(name)
            outdated = service is None or service.due != due or service.reading
            if not outdated and due > now:
                return None
            heapq.heappop(self._timed)
            if not outdated:
                return name
        return None

    def _read(self, name: str, now: float) -> ReadService:
        service = self._services[name]
        service.watch.query(now)  # the read does not block, but the watch counts it as a request
        self._reads += 1
        self._last_read += 1
        service.reading, service.begun = self._last_read, now
        service.changed, service.changed_before = False, service.changed
        return ReadService(name, service.reading)

    def _end(self, read: ReadService) -> _Service | None:
        service = self._services.get(read.name)
        if service is None or service.reading != read.number:
            return None  # it was removed meanwhile
        service.reading = 0
        self._reads -= 1
        return service

    def _plan(self, name: str, service: _Service, now: float, latest: float = inf) -> None:
        """Set when the service is read if it does not change, or has changed too soon after its last read."""
        soonest = service.begun + 2 * GAP
        due = min(service.watch.due, latest, now + self._rng.uniform(0.75, 1.25) * REFRESH)
        if service.changed:
            due = max(now, service.watch.requests.not_before)
        service.due = max(due, soonest)
        heapq.heappush(self._timed, (service.due, name))

    def _read_all(self, now: float) -> None:
        if self._full_read_at > now:
            return  # that one will see the change
        self._full_read_at = start = max(now, self._full_read_at + FULL_READ_GAP)
        for name, service in self._services.items():
            if service.reading:
                service.changed = True
            elif service.due > start:
                service.due = start
                heapq.heappush(self._timed, (start, name))

    def _on_node(self, node: str) -> list[str]:
        """Return the services with a registration on a node. Its own check concerns all of them."""
        start = f"{node}/"
        return [name for name, each in self._services.items() if any(key.startswith(start) for key in each.keys)]
