"""A service whose items have any size, and whose implementation reads as slowly as a test wants."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator

from meshcore import AbstractComponent, Component, Service, component, implementation, module, service


@service()
class Blobs(Service):
    @abstractmethod
    def give(self, sizes: list[int]) -> AsyncIterator[bytes]:
        """A blob of each size."""

    @abstractmethod
    def endless(self, size: int) -> AsyncIterator[bytes]:
        """Blobs as fast as they are read."""

    @abstractmethod
    async def take(self, blobs: AsyncIterator[bytes]) -> int:
        """Read blobs when a test lets it; the sum of their sizes."""

    @abstractmethod
    def echo(self, blobs: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same blobs."""


@component(services=[Blobs])
class BlobsComponent(Component): ...


@implementation()
class BlobsImpl(Blobs):
    """Counts.

    Attributes:
        given: blobs that were made.
        taken: blobs that were read.
        allowed: how many more `take` may read.
    """

    def __init__(self) -> None:
        self.given = self.taken = 0
        self.allowed = asyncio.Semaphore(0)

    async def give(self, sizes: list[int]) -> AsyncIterator[bytes]:
        for size in sizes:
            yield bytes(size)

    async def endless(self, size: int) -> AsyncIterator[bytes]:
        while True:
            self.given += 1
            yield bytes(size)

    async def take(self, blobs: AsyncIterator[bytes]) -> int:
        size = 0
        async for blob in blobs:
            await self.allowed.acquire()
            self.taken += 1
            size += len(blob)
        return size

    async def echo(self, blobs: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for blob in blobs:
            yield blob


@implementation()
class BlobsComponentImpl(AbstractComponent, BlobsComponent): ...


@module()
class BlobsModule: ...
