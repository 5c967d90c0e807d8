"""The third version, which callers of the first cannot live with."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from meshcore import AbstractComponent, Component, Service, component, implementation, module, service


@dataclass
class Receipt:
    number: int


@service(name="desk")
class Desk(Service):
    @abstractmethod
    async def place(self, sku: str, priority: int) -> Receipt: ...

    @abstractmethod
    async def cancel(self, number: int) -> None: ...


@component(name="shop", services=[Desk])
class Shop(Component): ...


@implementation()
class DeskImpl(Desk):
    async def place(self, sku: str, priority: int) -> Receipt:
        return Receipt(3)

    async def cancel(self, number: int) -> None:
        return None


@implementation()
class ShopImpl(AbstractComponent, Shop): ...


@module()
class ShopModule: ...
