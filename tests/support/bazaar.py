"""A service that takes everything that can be wrong, and does everything that an implementation can do wrong."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

from meshcore import (
    AbstractComponent,
    Body,
    Component,
    Service,
    component,
    get,
    implementation,
    module,
    post,
    rest,
    service,
)


@dataclass
class Line:
    sku: str
    price: float
    count: int = 1


@dataclass
class Order:
    customer: str
    lines: list[Line] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


@service()
@rest("/bazaar")
class Bazaar(Service):
    @abstractmethod
    @post("/orders")
    async def order(self, order: Order) -> int: ...

    @abstractmethod
    @post("/anything")
    async def anything(self, value: Body[Any]) -> str: ...

    @abstractmethod
    @get("/items/{number}")
    async def item(self, number: int, limit: int = 10) -> str: ...

    @abstractmethod
    async def price(self, sku: str, count: int = 1) -> float: ...

    @abstractmethod
    @post("/raises")
    async def raises(self) -> int: ...

    @abstractmethod
    @post("/lies")
    async def lies(self) -> Order: ...

    @abstractmethod
    @post("/blocks")
    async def blocks(self, seconds: float) -> int: ...


@component(services=[Bazaar])
class BazaarComponent(Component): ...


@implementation()
class BazaarImpl(Bazaar):
    async def order(self, order: Order) -> int:
        return len(order.lines)

    async def anything(self, value: Body[Any]) -> str:
        return type(value).__name__

    async def item(self, number: int, limit: int = 10) -> str:
        return f"{number} of {limit}"

    async def price(self, sku: str, count: int = 1) -> float:
        return 0.5 if count else 0.0

    async def raises(self) -> int:
        raise ZeroDivisionError("the secret of the server")

    async def lies(self) -> Order:
        return Order("ada", [Line("bolt", "7 EUR")])  # type: ignore[arg-type]

    async def blocks(self, seconds: float) -> int:
        time.sleep(seconds)  # noqa: ASYNC251 - that is what it shows
        return os.getpid()


@implementation()
class BazaarComponentImpl(AbstractComponent, BazaarComponent): ...


@module()
class BazaarModule: ...
