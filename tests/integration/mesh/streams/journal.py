"""A service whose streams are resumed: a journal, which several servers in this process read."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from math import inf

from meshcore import (
    AbstractComponent,
    Code,
    Component,
    MeshError,
    Policy,
    Service,
    component,
    get,
    implementation,
    module,
    rest,
    resumable,
    service,
)


@dataclass
class Entry:
    number: int
    text: str


@service()
@rest("/journal")
class Journal(Service):
    @resumable("after", key="number")
    @get("/entries")
    @Policy(timeout=inf)
    @abstractmethod
    def follow(self, after: int = 0) -> AsyncIterator[Entry]:
        """All entries after a number, those to come as well."""

    @resumable("last")
    @get("/names")
    @abstractmethod
    def names(self, last: str = "") -> AsyncIterator[str]:
        """The names after one, in their order."""

    @resumable("after")
    @get("/flaky")
    @abstractmethod
    def flaky(self, after: int = 0) -> AsyncIterator[int]:
        """Three numbers, and then an error that says: come back. Ten in all."""

    @resumable("after")
    @abstractmethod
    def never(self, after: int = 0) -> AsyncIterator[int]:
        """Two numbers, once; else nothing but that error."""


@component(services=[Journal])
class JournalComponent(Component): ...


NAMES = ["", "a\nb", "a b", "z", "ä%20"]


class Pages:
    """What all servers read.

    Attributes:
        count: of the entries so far.
        calls: of methods, with their last argument.
        ended: how many streams have ended.
    """

    def __init__(self) -> None:
        self.count = 0
        self.calls: list[object] = []
        self.ended = 0
        self._more = asyncio.Event()

    def write(self) -> None:
        """Add an entry."""
        self.count += 1
        self._more.set()
        self._more = asyncio.Event()

    async def read(self, after: int) -> AsyncIterator[Entry]:
        """All entries after one, without an end."""
        while True:
            for number in range(after + 1, self.count + 1):
                yield Entry(number, f"entry {number}")
                after = number
            if after >= self.count:
                await self._more.wait()


pages = Pages()
"""Of the test that runs: it replaces them by its own."""


@implementation()
class JournalImpl(Journal):
    def __init__(self) -> None:
        self._pages = pages

    async def follow(self, after: int = 0) -> AsyncIterator[Entry]:
        self._pages.calls.append(after)
        try:
            async for entry in self._pages.read(after):
                yield entry
        finally:
            self._pages.ended += 1

    async def names(self, last: str = "") -> AsyncIterator[str]:
        self._pages.calls.append(last)
        for name in NAMES:
            if name > last or not self._pages.calls[1:]:
                yield name

    async def flaky(self, after: int = 0) -> AsyncIterator[int]:
        self._pages.calls.append(after)
        for number in range(after + 1, min(after + 4, 11)):
            yield number
        if after + 3 < 10:
            raise MeshError(Code.UNAVAILABLE, "come back")

    async def never(self, after: int = 0) -> AsyncIterator[int]:
        self._pages.calls.append(after)
        if not after:
            yield 1
            yield 2
        raise MeshError(Code.UNAVAILABLE, "come back")


@implementation()
class JournalComponentImpl(AbstractComponent, JournalComponent): ...


@module()
class JournalModule: ...
