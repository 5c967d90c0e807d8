"""A service whose writes are executed once."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from dataclasses import dataclass

from meshcore import (
    AbstractComponent,
    Component,
    Service,
    component,
    get,
    idempotency_key,
    implementation,
    module,
    post,
    raises,
    service,
)


@dataclass
class SoldOut(Exception):
    sku: str


@service()
class Ordering(Service):
    @abstractmethod
    @post("/orders")
    @raises(SoldOut)
    @idempotency_key(seconds=60.0)
    async def order(self, sku: str, seconds: float = 0.0) -> int: ...

    @abstractmethod
    @get("/orders")
    async def executed(self) -> int: ...


@component(name="ordering", services=[Ordering])
class OrderingComponent(Component): ...


@implementation()
class OrderingImpl(Ordering):
    def __init__(self) -> None:
        self.number = 0

    async def order(self, sku: str, seconds: float = 0.0) -> int:
        self.number += 1
        number = self.number
        await asyncio.sleep(seconds)
        if sku == "unicorn":
            raise SoldOut(sku)
        return number

    async def executed(self) -> int:
        return self.number


@implementation()
class OrderingComponentImpl(AbstractComponent, OrderingComponent): ...


@module()
class OrderingModule: ...
