"""A service in three versions, as teams have them that deploy apart: the first."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from meshcore import AbstractComponent, Component, Service, component, implementation, module, service


@dataclass
class Receipt:
    number: int


@service(name="desk", description="takes orders")
class Desk(Service):
    @abstractmethod
    async def place(self, sku: str) -> Receipt:
        """Place an order.

        Args:
            sku: what is wanted.
        """

    @abstractmethod
    async def cancel(self, number: int) -> None: ...


@component(name="shop", services=[Desk])
class Shop(Component): ...


@implementation()
class DeskImpl(Desk):
    async def place(self, sku: str) -> Receipt:
        return Receipt(1)

    async def cancel(self, number: int) -> None:
        return None


@implementation()
class ShopImpl(AbstractComponent, Shop): ...


@module()
class ShopModule: ...
