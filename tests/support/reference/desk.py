"""A desk with a clerk, whose calls fail."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from meshcore import (
    AbstractComponent,
    Component,
    Policy,
    Service,
    component,
    get,
    idempotency_key,
    implementation,
    injectable,
    module,
    on_init,
    service,
)


@service()
class Clerk(Service):
    @abstractmethod
    async def wait(self, seconds: float) -> None: ...

    @abstractmethod
    async def ask(self) -> str: ...

    @abstractmethod
    @idempotency_key(seconds=60.0)
    async def pay(self) -> None: ...

    @abstractmethod
    def nest(self, depth: int) -> int: ...


@service()
class Archive(Service):
    @abstractmethod
    async def find(self) -> str: ...

    @abstractmethod
    @get("/archive/{year}")
    async def year(self, year: str) -> str: ...

    @abstractmethod
    @get("/archive/latest")
    async def latest(self) -> str: ...


@component(name="desk", services=[Clerk])
@Policy(concurrency=2)
class Desk(Component): ...


@component(name="archive", services=[Archive])
class ArchiveComponent(Component): ...


@injectable("request")
class Session: ...


@implementation()
class ClerkImpl(Clerk):
    def __init__(self, archive: Archive, clerk: Clerk) -> None:
        self.archive = archive
        self.clerk = clerk

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def ask(self) -> str:
        return await self.archive.find()

    async def pay(self) -> None:
        raise ZeroDivisionError

    def nest(self, depth: int) -> int:
        return self.clerk.nest(depth + 1)


@implementation()
class DeskImpl(AbstractComponent, Desk): ...


@module(components=[ArchiveComponent])
class DeskModule: ...


class Early:
    """Calls a service while the objects of the mesh are made."""

    def __init__(self, clerk: Clerk) -> None:
        self.clerk = clerk

    @on_init
    async def prepare(self) -> None:
        await self.clerk.wait(0.0)
