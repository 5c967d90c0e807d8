"""What somebody wants to see of the calls, and those that wait to be read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meshcore.telemetry.calls import Calls
from meshcore.telemetry.histogram import quantile
from meshcore.telemetry.tap.seen_call import SeenCall

MOST_WAITING: Final = 500
"""Calls that wait for a reader. Those that follow are lost to it."""

_SLOW = 0.99
_ENOUGH = 100
"""A call is slow if it takes longer than 99 % of the calls of its method, of at least so many."""

_FRESH = 1.0
"""Seconds for which such a quantile is used."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls somebody wants to see.

    Attributes:
        component: that offers the method.
        method: as `service/method` or as its name alone; empty for all.
        failed: only those that failed.
        slow: only those that took longer than 99 % of the calls of their method. With `failed`: or that failed.
        slower_than: only those that took more seconds. With `failed`: or that failed.
        max_rps: calls per second that are shown at most, as Linkerd's `--max-rps`.
        arguments: whether to show them, too, where the setting `show_arguments` allows it.
    """

    component: Annotated[str, Meta(min_length=1)]
    method: str = ""
    failed: bool = False
    slow: bool = False
    slower_than: Annotated[float, Meta(ge=0)] = 0.0
    max_rps: Annotated[int, Meta(ge=1, le=1000)] = 100
    arguments: bool = False


class Taken(msgspec.Struct, frozen=True):
    """What a reader takes at once.

    Attributes:
        calls: oldest first.
        left_out: calls since the last time that were not shown since there were more than `max_rps`.
        lost: calls since the last time that were not shown since the reader is too slow.
    """

    calls: tuple[SeenCall, ...] = ()
    left_out: int = 0
    lost: int = 0


class TapLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of what a process tells. One without a call says only that the process is alive, or what is not shown.

    Attributes:
        process: its id; ids of its instances end with this.
        name: what it calls itself.
        call: that has ended.
        left_out: see `Taken`.
        lost: see `Taken`.
    """

    process: str
    name: str = ""
    call: SeenCall | None = None
    left_out: int = 0
    lost: int = 0


class Tap:
    """Chooses calls for one reader, and keeps a bounded number of them until it reads.

    Args:
        wanted: which calls.
        ready: called when there is something to read.
        hosted: whether this process serves the component. Then calls that it has refused before it knew their method
            are shown, too, unless one method is wanted.

    Attributes:
        wanted: which calls.
    """

    def __init__(self, wanted: Wanted, ready: Callable[[], None], *, hosted: bool = False) -> None:
        self.wanted = wanted
        self._ready = ready
        self._components = frozenset({wanted.component, *([""] if hosted and not wanted.method else [])})
        self._waiting: deque[SeenCall] = deque()
        self._left_out = 0
        self._lost = 0
        self._second = -inf
        self._budget = 0
        self._usual: dict[Calls, tuple[float, float]] = {}

    def takes(self, calls: Calls, seconds: float, now: float, *, failed: bool) -> bool:
        """Whether a call that has ended is to be shown. If there is no room for it, it is counted.

        Args:
            calls: the series of its method.
            seconds: that it took.
            now: on a clock that only goes forward.
            failed: whether it failed.
        """
        if not self._wants(calls, seconds, now, failed=failed):
            return False
        if now - self._second >= 1.0:
            self._second, self._budget = now, self.wanted.max_rps
        if self._budget <= 0:
            self._left_out += 1
        elif len(self._waiting) >= MOST_WAITING:
            self._lost += 1
        else:
            self._budget -= 1
            return True
        return False

    def _wants(self, calls: Calls, seconds: float, now: float, *, failed: bool) -> bool:
        wanted = self.wanted
        if calls.component not in self._components:
            return False
        if wanted.method not in {"", calls.method, calls.method.rpartition("/")[2]}:
            return False
        if not (wanted.failed or wanted.slow or wanted.slower_than):
            return True
        if wanted.failed and failed:
            return True
        if not (wanted.slow or wanted.slower_than) or seconds <= wanted.slower_than:
            return False
        return not wanted.slow or seconds > self._slow(calls, now)

    def _slow(self, calls: Calls, now: float) -> float:
        """The seconds after which a call of this method is slow."""
        until, usual = self._usual.get(calls, (-inf, inf))
        if now >= until:
            usual = inf
            if calls.count >= _ENOUGH:
                found = quantile(calls.latencies(), _SLOW)
                usual = inf if found is None else found
            self._usual[calls] = now + _FRESH, usual
        return usual

    def show(self, call: SeenCall) -> None:
        """Keep a call for the reader."""
        self._waiting.append(call)
        self._ready()

    def take(self) -> Taken:
        """What is there to read. It may be nothing."""
        found = Taken(tuple(self._waiting), self._left_out, self._lost)
        self._waiting.clear()
        self._left_out = self._lost = 0
        return found
