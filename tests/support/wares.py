"""A small shop for the test kit's own tests: one service of every kind that faults matter for."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from dataclasses import dataclass

from meshcore import (
    AbstractComponent,
    Component,
    Policy,
    Service,
    component,
    get,
    idempotency_key,
    idempotent,
    implementation,
    injectable,
    module,
    raises,
    rest,
    service,
)
from meshcore.core.call import ambient_deadline


@dataclass
class SoldOut(Exception):
    ware: str


@service()
class Prices(Service):
    """Used by the shop; a fake takes its place."""

    @abstractmethod
    async def price(self, ware: str) -> int: ...


@service()
@rest("/wares")
class Wares(Service):
    @get("/{ware}")
    @raises(SoldOut)
    @abstractmethod
    async def look(self, ware: str) -> int: ...

    @abstractmethod
    async def buy(self, ware: str) -> int: ...

    @abstractmethod
    @idempotent
    async def reserve(self, ware: str) -> int: ...

    @abstractmethod
    @idempotency_key(seconds=60.0)
    async def pay(self, ware: str) -> int: ...

    @abstractmethod
    async def wait(self, seconds: float) -> float: ...

    @abstractmethod
    @Policy(timeout=600.0)
    async def linger(self) -> None: ...


@component(services=[Wares, Prices])
class WaresComponent(Component): ...


@injectable()
class Ledger:
    """What was sold here."""

    def __init__(self) -> None:
        self.sold: list[str] = []
        self.cancelled = asyncio.Event()
        self.begun = asyncio.Event()


@implementation()
class PricesImpl(Prices):
    async def price(self, ware: str) -> int:
        return len(ware)


@implementation()
class WaresImpl(Wares):
    def __init__(self, ledger: Ledger, prices: Prices) -> None:
        self.ledger = ledger
        self.prices = prices

    async def _sell(self, ware: str) -> int:
        self.ledger.sold.append(ware)
        return await self.prices.price(ware)

    async def look(self, ware: str) -> int:
        if ware == "unicorn":
            self.ledger.sold.append(ware)
            raise SoldOut(ware)
        return await self._sell(ware)

    async def buy(self, ware: str) -> int:
        return await self._sell(ware)

    async def reserve(self, ware: str) -> int:
        return await self._sell(ware)

    async def pay(self, ware: str) -> int:
        return await self._sell(ware)

    async def wait(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return ambient_deadline.get()

    async def linger(self) -> None:
        self.ledger.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ledger.cancelled.set()


@implementation()
class WaresComponentImpl(AbstractComponent, WaresComponent): ...


@module()
class WaresModule: ...
