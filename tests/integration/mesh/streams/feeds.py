"""Services that stream, in every shape: declared and implemented with `async def` and with `def`."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from meshcore import (
    AbstractComponent,
    Component,
    Service,
    component,
    current_call,
    get,
    idempotent,
    implementation,
    module,
    post,
    raises,
    rest,
    service,
)


@dataclass
class Price:
    sku: str
    cents: int


class SoldOut(Exception):
    def __init__(self, sku: str) -> None:
        super().__init__(sku)
        self.sku = sku


@service()
@rest("/feed")
class Feed(Service):
    @idempotent
    @raises(SoldOut)
    @get("/watch/{sku}")
    @abstractmethod
    def watch(self, sku: str, count: int = 3, *, sold_out: bool = False) -> AsyncIterator[Price]:
        """Count prices, then the end or the error."""

    @post("/endless")
    @abstractmethod
    def endless(self) -> AsyncGenerator[int, None]:
        """Items as fast as they are read."""

    @get("/stuck")
    @abstractmethod
    def stuck(self, after: int) -> AsyncIterator[int]:
        """Some items, and then nothing."""

    @post("/total")
    @abstractmethod
    async def total(self, prices: AsyncIterator[Price], start: int = 0) -> int:
        """The sum of cents."""

    @post("/first")
    @abstractmethod
    async def first(self, items: AsyncIterator[int]) -> int:
        """The first item, without a look at the others."""

    @get("/peer")
    @abstractmethod
    def peer(self) -> AsyncIterator[str]:
        """Who calls, and what is left of the time."""

    @get("/unary")
    @abstractmethod
    async def unary(self, text: str) -> str:
        """A call as any other."""


@service()
class Chat(Service):
    @abstractmethod
    def double(self, items: AsyncIterator[int]) -> AsyncIterator[int]:
        """Each item twice as large, one by one."""


@service()
class BlockingFeed(Service):
    @raises(SoldOut)
    @abstractmethod
    def watch(self, sku: str, count: int = 3, *, sold_out: bool = False) -> Iterator[Price]: ...

    @abstractmethod
    def endless(self) -> Iterator[int]: ...

    @abstractmethod
    def total(self, prices: Iterator[Price], start: int = 0) -> int: ...

    @abstractmethod
    def first(self, items: Iterator[int]) -> int: ...

    @abstractmethod
    def double(self, items: Iterator[int]) -> Iterator[int]: ...


@component(services=[Feed, Chat, BlockingFeed])
class Feeds(Component): ...


class Log:
    """What implementations did, which tests wait for.

    Attributes:
        written: items that `endless` has yielded.
        begun: the names of methods that wait for what may never come.
        ended: the names of methods whose `finally` has run.
        threads: those in which generators ran.
    """

    def __init__(self) -> None:
        self.written = 0
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.threads: set[int] = set()


@implementation()
class FeedImpl(Feed, Chat):
    def __init__(self) -> None:
        self.log = Log()

    async def watch(self, sku: str, count: int = 3, *, sold_out: bool = False) -> AsyncIterator[Price]:
        try:
            for cents in range(count):
                yield Price(sku, cents)
            if sold_out:
                raise SoldOut(sku)
        finally:
            await asyncio.sleep(0)  # a `finally` that awaits works, too
            self.log.ended.append("watch")

    async def endless(self) -> AsyncGenerator[int, None]:
        try:
            while True:
                self.log.written += 1
                yield self.log.written
        finally:
            self.log.ended.append("endless")

    async def stuck(self, after: int) -> AsyncIterator[int]:
        self.log.begun.append("stuck")
        try:
            for item in range(after):
                yield item
            await asyncio.Event().wait()
        finally:
            self.log.ended.append("stuck")

    async def total(self, prices: AsyncIterator[Price], start: int = 0) -> int:
        self.log.begun.append("total")
        try:
            async for price in prices:
                start += price.cents
            return start
        finally:
            self.log.ended.append("total")

    async def first(self, items: AsyncIterator[int]) -> int:
        return await anext(items)

    async def double(self, items: AsyncIterator[int]) -> AsyncIterator[int]:
        self.log.begun.append("double")
        try:
            async for item in items:
                yield 2 * item
        finally:
            self.log.ended.append("double")

    async def peer(self) -> AsyncIterator[str]:
        yield current_call().peer
        yield current_call().component
        yield current_call().headers.get("x-user", "nobody")

    async def unary(self, text: str) -> str:
        return text


@implementation()
class BlockingFeedImpl(BlockingFeed):
    def __init__(self) -> None:
        self.log = Log()

    def watch(self, sku: str, count: int = 3, *, sold_out: bool = False) -> Iterator[Price]:
        try:
            for cents in range(count):
                self.log.threads.add(threading.get_ident())
                yield Price(sku, cents)
            if sold_out:
                raise SoldOut(sku)
        finally:
            self.log.threads.add(threading.get_ident())
            self.log.ended.append("watch")

    def endless(self) -> Iterator[int]:
        try:
            while True:
                self.log.written += 1
                yield self.log.written
        finally:
            self.log.ended.append("endless")

    def total(self, prices: Iterator[Price], start: int = 0) -> int:
        return start + sum(price.cents for price in prices)

    def first(self, items: Iterator[int]) -> int:
        return next(items)

    def double(self, items: Iterator[int]) -> Iterator[int]:
        self.log.begun.append("double")
        try:
            for item in items:
                yield 2 * item
        finally:
            self.log.ended.append("double")


@implementation()
class FeedsImpl(AbstractComponent, Feeds): ...


@module()
class FeedsModule: ...


async def outcome(stream: AsyncIterator[Any]) -> tuple[list[Any], Exception | None]:
    """What comes of a stream: its items, and the error that it ends with."""
    got: list[Any] = []
    try:
        async for item in stream:
            got.append(item)  # noqa: PERF401 - those before an error count
    except Exception as error:  # noqa: BLE001 - the test judges it
        return got, error
    return got, None


async def prices(*cents: int) -> AsyncIterator[Price]:
    """Prices of a caller."""
    for each in cents:
        yield Price("tea", each)
