"""A service whose every execution leaves a line in a file: what was done twice, or not at all, cannot hide."""

from __future__ import annotations

import asyncio
import os
import time
from abc import abstractmethod
from pathlib import Path

from meshcore import (
    AbstractComponent,
    Component,
    Service,
    component,
    get,
    health,
    idempotency_key,
    implementation,
    module,
    post,
    rest,
    service,
)

LET_GO = "let-go"
"""The name of a file in the folder that ends calls which hold."""


def mark(kind: str) -> Path:
    """A file of this process."""
    return Path(os.environ["LEDGER_FOLDER"]) / f"{os.getpid()}.{kind}"


@service()
@rest("/ledger")
class Ledger(Service):
    @abstractmethod
    @post("/entries/{number}")
    async def write(self, number: int) -> int: ...

    @abstractmethod
    @post("/bookings/{number}")
    @idempotency_key(seconds=60.0)
    async def book(self, number: int) -> int: ...

    @abstractmethod
    @get("/entries/{number}")
    async def read(self, number: int) -> int: ...

    @abstractmethod
    @post("/long")
    async def hold(self, seconds: float) -> int: ...


@component(name="ledger", services=[Ledger])
class LedgerComponent(Component): ...


@implementation()
class LedgerImpl(Ledger):
    def __init__(self) -> None:
        self.path = mark("ledger")

    async def write(self, number: int) -> int:
        await asyncio.sleep(0.002)
        # One write in append mode: also two processes of the same id would not mix their lines.
        with self.path.open("a") as file:
            file.write(f"{number}\n")
        await asyncio.sleep(0.002)
        return number

    async def book(self, number: int) -> int:
        return await self.write(number)

    async def read(self, number: int) -> int:
        return number

    async def hold(self, seconds: float) -> int:
        mark("held").touch()
        until = time.monotonic() + seconds
        while time.monotonic() < until and not (Path(os.environ["LEDGER_FOLDER"]) / LET_GO).exists():
            await asyncio.sleep(0.02)
        return os.getpid()


@implementation()
@health("/health")
class LedgerComponentImpl(AbstractComponent, LedgerComponent):
    def startup(self) -> None:
        mark("started").touch()

    def shutdown(self) -> None:
        mark("stopped").touch()


@module()
class LedgerModule: ...
