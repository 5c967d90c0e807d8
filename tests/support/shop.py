"""A service with every way of mapping a method to HTTP; tests talk to it with plain HTTP."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from meshcore import (
    AbstractComponent,
    Body,
    Code,
    Component,
    MeshError,
    PathParam,
    QueryParam,
    Service,
    component,
    delete,
    get,
    health,
    implementation,
    module,
    patch,
    post,
    put,
    raises,
    rest,
    service,
)


@dataclass
class Line:
    item: str
    price: float


@dataclass
class Order:
    id: int
    lines: list[Line] = field(default_factory=list[Line])


@dataclass
class OutOfStock(Exception):
    item: str
    left: int
    price: Decimal


class Busy(Exception):
    code = Code.UNAVAILABLE


@service()
@rest("/shop")
class Shop(Service):
    @abstractmethod
    @get("/orders/{number}", summary="One order")
    async def order(self, number: PathParam[int], lines: QueryParam[int] = 1) -> Order: ...

    @abstractmethod
    @get("/orders/latest")
    async def latest(self) -> str: ...

    @abstractmethod
    @post("/orders")
    async def add(self, order: Order, *, urgent: bool = False) -> Order: ...

    @abstractmethod
    @put("/orders/{number}")
    async def replace(self, number: int, order: Order) -> Order: ...

    @abstractmethod
    @patch("/orders/{number}")
    async def change(self, number: int, change: Body[dict[str, int] | None] = None) -> dict[str, int] | None: ...

    @abstractmethod
    @delete("/orders/{number}")
    async def remove(self, number: int) -> None: ...

    @abstractmethod
    @get("/items/{name}/of/{seller}")
    async def item(self, name: str, seller: str) -> list[str]: ...

    @abstractmethod
    @get("/ranges/{first}:{last}")
    async def range(self, first: str, last: str) -> list[str]: ...

    @abstractmethod
    @get("/grüße und mehr/{name}.txt")
    async def greet(self, name: str) -> str: ...

    @abstractmethod
    @get("/search")
    async def search(
        self,
        text: str,
        limit: int | None = 10,
        tags: tuple[str, ...] = (),
        sizes: list[int] | None = None,
    ) -> list[Any]: ...

    @abstractmethod
    @post("/ping")
    async def ping(self) -> str: ...

    @abstractmethod
    @post("/buy/{item}")
    @raises(OutOfStock, Busy)
    async def buy(self, item: str) -> None: ...

    @abstractmethod
    @get("/fail/{code}")
    async def fail(self, code: str) -> None: ...

    @abstractmethod
    @post("/crash")
    async def crash(self) -> None: ...

    @abstractmethod
    @get("/sleep")
    async def sleep(self, seconds: float) -> None: ...

    @abstractmethod
    async def unmapped(self) -> None: ...


@component(name="shop", services=[Shop])
class ShopComponent(Component): ...


@implementation()
class ShopImpl(Shop):
    async def order(self, number: int, lines: int = 1) -> Order:
        return Order(number, [Line("tea", 1.5)] * lines)

    async def latest(self) -> str:
        return "the latest"

    async def add(self, order: Order, *, urgent: bool = False) -> Order:
        return Order(order.id + 1 + 100 * urgent, order.lines)

    async def replace(self, number: int, order: Order) -> Order:
        return Order(number, order.lines)

    async def change(self, number: int, change: dict[str, int] | None = None) -> dict[str, int] | None:
        return change

    async def remove(self, number: int) -> None:
        return None

    async def item(self, name: str, seller: str) -> list[str]:
        return [name, seller]

    async def range(self, first: str, last: str) -> list[str]:
        return [first, last]

    async def greet(self, name: str) -> str:
        return name

    async def search(
        self,
        text: str,
        limit: int | None = 10,
        tags: tuple[str, ...] = (),
        sizes: list[int] | None = None,
    ) -> list[Any]:
        return [text, limit, tags, sizes]

    async def ping(self) -> str:
        return "pong"

    async def buy(self, item: str) -> None:
        if item == "busy":
            raise Busy("come back later")
        raise OutOfStock(item, 2, Decimal("1.50"))

    async def fail(self, code: str) -> None:
        raise MeshError(Code(code), "as you wish", details={"code": 7})

    async def crash(self) -> None:
        raise RuntimeError("the secret of the server")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def unmapped(self) -> None: ...


@implementation()
@health("/shop-health")
class ShopComponentImpl(AbstractComponent, ShopComponent): ...


@module()
class ShopModule: ...
