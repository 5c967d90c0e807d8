"""The second version, which callers of the first can live with."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from meshcore import AbstractComponent, Component, Service, component, get, implementation, module, service


@dataclass
class Receipt:
    number: int
    note: str = ""


@service(name="desk")
class Desk(Service):
    @abstractmethod
    async def place(self, sku: str, note: str = "") -> Receipt: ...

    @abstractmethod
    async def cancel(self, number: int) -> None: ...

    @abstractmethod
    @get("/desk/count")
    async def count(self) -> int: ...


@component(name="shop", services=[Desk])
class Shop(Component): ...


@implementation()
class DeskImpl(Desk):
    async def place(self, sku: str, note: str = "") -> Receipt:
        return Receipt(2, note)

    async def cancel(self, number: int) -> None:
        return None

    async def count(self) -> int:
        return 2


@implementation()
class ShopImpl(AbstractComponent, Shop): ...


@module()
class ShopModule: ...
