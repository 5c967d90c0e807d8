"""An event loop whose time is virtual: waiting takes none, and the same run takes the same course every time."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Where others sleep until the next timer, this loop's clock jumps to it.

    It is for code that waits for timers and for each other only. What comes from outside, a socket or a thread, is
    handled when it comes, but nobody waits for it.

    While it runs, `time.monotonic` is its clock as well: deadlines, and all else that the mesh measures, are told by
    that. So nothing else that needs the time may go on meanwhile in other threads.
    """

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def run_forever(self) -> None:
        """Run until stopped; every other way to run a loop comes by here."""
        monotonic = time.monotonic
        setattr(time, "monotonic", self.time)  # noqa: B010 - checkers know that nobody does this
        try:
            super().run_forever()
        finally:
            setattr(time, "monotonic", monotonic)  # noqa: B010

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError(
                    "all tasks wait, and there is no timer that could wake one: this would hang for ever"
                )
            self._loop.advance(max(timeout, 0.0))
        return events


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time.

    Raises:
        RuntimeError: everything waits for something that cannot come.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
