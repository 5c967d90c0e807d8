"""`Value`: a value that changes while the process runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Value(Generic[T]):
    """A value that is always up to date. `Annotated[Value[int], inject_value("...")]` injects one.

    It may be read and set from any thread, and followed on any number of event loops.

    Args:
        value: the first value.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._version = 0
        self._lock = Lock()
        self._followers: set[_Follower] = set()

    def get(self) -> T:
        """The current value. Reading it costs nothing, so read it whenever it is needed."""
        return self._value

    def set(self, value: T) -> None:
        """Change the value. The mesh does so when its source changes; a test may, too. An equal value is no change."""
        with self._lock:
            if value == self._value:
                return
            self._value = value
            self._version += 1
            for follower in self._followers:
                follower.wake()

    def changes(self) -> AsyncGenerator[T, None]:
        """Yield each new value from this call on. A slow reader misses values, but always gets the newest.

        It never ends by itself: cancel the task that reads it.
        """
        return self._follow(self._version)

    async def _follow(self, seen: int) -> AsyncGenerator[T, None]:
        follower = _Follower()
        with self._lock:
            self._followers.add(follower)
        try:
            while True:
                follower.changed.clear()  # before reading: a value that is set after that sets the event again
                with self._lock:
                    version, value = self._version, self._value
                if version == seen:
                    await follower.changed.wait()
                else:
                    seen = version
                    yield value
        finally:
            with self._lock:
                self._followers.discard(follower)

    def __repr__(self) -> str:
        return f"Value({self._value!r})"


class _Follower:
    """One reader of `changes`. Other threads wake it."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.changed.set)
