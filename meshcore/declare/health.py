"""Health checks: declared on methods and run together. The worst status is that of the whole.

@health_checks()
class Checks:
@health_check(name="stock", cache=10, fail_if_slower_than=1)
async def check_stock(self, result: HealthCheckManager.Result) -> None:
if await self.stock.is_low():
result.set_status(HealthStatus.WARNING, "little left")
"""

from __future__ import annotations

import inspect
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from enum import Enum
from functools import total_ordering
from math import inf
from typing import Any, Final, TypeVar, cast, overload

import anyio
import anyio.to_thread
import msgspec

from meshcore.core.context.call_scope import failure_of
from meshcore.core.marks import marked_methods, takes_one
from meshcore.declare.decorators import is_bare, is_target, mark_class, mark_function
from meshcore.declare.injection import InjectableMark

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger(__name__)


@total_ordering
class HealthStatus(Enum):
    """The status of a check. ERROR is the greatest, OK the least."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"

    @property
    def http_status(self) -> int:
        """200, 429 or 500, which Consul reads as passing, warning and critical."""
        return _HTTP_STATUS[self]

    def __lt__(self, other: HealthStatus) -> bool:
        return self.http_status < other.http_status


_HTTP_STATUS: Final = {HealthStatus.OK: 200, HealthStatus.WARNING: 429, HealthStatus.ERROR: 500}


class HealthChecksMark(InjectableMark, frozen=True):
    """The mark of `@health_checks`."""


class HealthCheckMark(msgspec.Struct, frozen=True):
    """The mark of `@health_check`."""

    name: str
    cache: float
    fail_if_slower_than: float


@overload
def health_checks(cls: C, /) -> C: ...
@overload
def health_checks() -> Callable[[C], C]: ...
def health_checks(cls: C | None = None) -> C | Callable[[C], C]:
    """Declare a class with health checks, which makes it an injectable singleton."""
    decorate = mark_class("health_checks", lambda _: HealthChecksMark())
    if cls is None:
        return decorate
    is_bare(cls, "health_checks", HealthChecksMark)
    return decorate(cls)


@overload
def health_check(name: F, /) -> F: ...
@overload
def health_check(name: str = "", cache: float = 0.0, fail_if_slower_than: float = 0.0) -> Callable[[F], F]: ...
def health_check(name: str | Callable[..., Any] = "", cache: float = 0.0, fail_if_slower_than: float = 0.0) -> Any:
    """Declare a method (`def` or `async def`) as a health check. It takes a `HealthCheckManager.Result`.

    Args:
        name: of the check in the answer. Default: the method's name.
        cache: seconds for which the last result is answered without running the check again.
        fail_if_slower_than: seconds after which the check is an ERROR. 0: the setting `request_timeout`.
    """
    if is_target(name):
        return health_check()(name)
    return mark_function("health_check", HealthCheckMark(cast("str", name), cache, fail_if_slower_than))


def health_problems(cls: type) -> list[str]:
    """The mistakes in the health checks that a class declares."""
    problems: list[str] = []
    for name, mark in marked_methods(cls, HealthCheckMark).items():
        place = f"{cls.__name__}.{name}"
        if not takes_one(inspect.getattr_static(cls, name)):
            problems.append(f"{place}: a health check takes exactly one parameter, a HealthCheckManager.Result")
        if mark.cache < 0 or mark.fail_if_slower_than < 0:
            problems.append(f"{place}: cache and fail_if_slower_than are seconds, they cannot be negative")
    return problems


class HealthCheckManager:
    """Runs health checks.

    Args:
        checks: objects whose methods may be decorated with `@health_check`. Objects without such methods are ignored.
        clock: monotonic time in seconds, for the age of cached results and the duration of checks.
        longest: seconds after which a check without a limit of its own is an error. So nobody waits for ever, and
            repeated requests do not pile up.
    """

    class Result(msgspec.Struct):
        """The result of one check.

        Attributes:
            name: the name of the check.
            status: OK unless the check sets another.
            details: free text.
            duration: seconds that the check took.
        """

        name: str = ""
        status: HealthStatus = HealthStatus.OK
        details: str = ""
        duration: float = 0.0

        def set_status(self, status: HealthStatus, details: str = "") -> None:
            """Set the status and a text."""
            self.status = status
            self.details = details

    class Health(msgspec.Struct, frozen=True):
        """The results of all checks.

        Attributes:
            status: the worst status.
            checks: the result of each check.
        """

        status: HealthStatus
        checks: tuple[HealthCheckManager.Result, ...] = ()

        def to_plain(self) -> dict[str, Any]:
            """The body of a health endpoint's response, as plain data."""
            checks = [
                {"name": each.name, "status": each.status.value, "details": each.details, "duration": each.duration}
                for each in self.checks
            ]
            return {"status": self.status.value, "checks": checks}

    def __init__(
        self, checks: Iterable[object] = (), clock: Callable[[], float] = time.monotonic, longest: float = inf
    ) -> None:
        self._clock = clock
        self._longest = longest
        self._checks: list[_Check] = []
        self.add(*checks)

    def add(self, *checks: object) -> None:
        """Add the health checks of these objects."""
        for each in checks:
            for name, mark in marked_methods(type(each), HealthCheckMark).items():
                self._checks.append(_Check(mark.name or name, getattr(each, name), mark, self._clock, self._longest))

    async def check(self) -> Health:
        """Run all checks concurrently, except those whose cached result is still valid."""
        results: dict[int, HealthCheckManager.Result] = {}

        async def run(index: int, check: _Check) -> None:
            results[index] = await check.result()

        checks = list(self._checks)
        async with anyio.create_task_group() as tasks:
            for index, check in enumerate(checks):
                tasks.start_soon(run, index, check)
        ordered = tuple(results[index] for index in range(len(checks)))
        return self.Health(max((each.status for each in ordered), default=HealthStatus.OK), ordered)


class _Check:
    """One check and its last result."""

    def __init__(
        self,
        name: str,
        method: Callable[[HealthCheckManager.Result], object],
        mark: HealthCheckMark,
        clock: Callable[[], float],
        longest: float,
    ) -> None:
        self._name = name
        self._method = method
        self._cache = mark.cache
        self._limit = mark.fail_if_slower_than or longest
        self._clock = clock
        self._lock = anyio.Lock()
        self._finished: int = 0  # the number of runs that have ended
        self._last: HealthCheckManager.Result | None = None
        self._last_at = 0.0
        self._thread_since: float | None = None

    async def result(self) -> HealthCheckManager.Result:
        """The cached result, or that of the run in progress, or that of a new run.

        If the caller that started a run is cancelled, so is the run. The next waiting caller then starts another.
        """
        if self._last is not None and self._clock() < self._last_at + self._cache:
            return self._last
        finished = self._finished
        async with self._lock:
            if self._last is None or self._finished == finished:
                self._last = await self._run()
                self._last_at = self._clock()
                self._finished += 1
            return self._last

    async def _run(self) -> HealthCheckManager.Result:
        start = self._clock()
        # An abandoned thread may still write to this object. So the result below is a copy.
        draft = HealthCheckManager.Result()
        late = False
        try:
            with anyio.move_on_after(self._limit) as limit:
                await self._call(draft)
            late = limit.cancelled_caught
        except BaseException as error:  # a check may raise anything; the others still count
            if failure_of(error) is None:
                raise
            # What it says may be a secret, such as the URL of a database, and anybody can ask for the health.
            id_ = secrets.token_hex(8)
            _log.exception("health check %s failed; it is told as check %s", self._name, id_, extra={"check": id_})
            details = f"the check failed; the server's log has it as check {id_}"
            draft = HealthCheckManager.Result(status=HealthStatus.ERROR, details=details)
        duration = self._clock() - start
        status, details = draft.status, draft.details
        if late:
            status, details = HealthStatus.ERROR, f"not done after {self._limit:g} s"
        elif duration > self._limit and status is not HealthStatus.ERROR:
            status, details = HealthStatus.ERROR, f"took {duration:.3g} s, longer than {self._limit:g} s"
        return HealthCheckManager.Result(self._name, status, details, duration)

    async def _call(self, draft: HealthCheckManager.Result) -> None:
        if inspect.iscoroutinefunction(self._method):
            await self._method(draft)
        elif self._thread_since is not None:
            # Another thread for each run could use up all threads.
            seconds = self._clock() - self._thread_since
            draft.set_status(HealthStatus.ERROR, f"still running after {seconds:.3g} s")
        else:
            self._thread_since = self._clock()
            # A limiter of its own: health checks must not wait for threads that serve calls.
            await anyio.to_thread.run_sync(
                self._call_in_thread, draft, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )

    def _call_in_thread(self, draft: HealthCheckManager.Result) -> None:
        try:
            self._method(draft)
        finally:
            self._thread_since = None
