"""A mesh of three components, each in a process of its own: the shop asks the stock and the prices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass

from meshcore import (
    AbstractComponent,
    Component,
    Service,
    component,
    implementation,
    raises,
    service,
)


@dataclass
class Line:
    """What somebody orders."""

    sku: str
    amount: int = 1


class SoldOut(Exception):
    """There is none left."""

    def __init__(self, sku: str) -> None:
        super().__init__(f"{sku} is sold out")
        self.sku = sku


@service(name="shop")
class Shop(Service):
    """Takes orders."""

    @raises(SoldOut)
    @abstractmethod
    async def order(self, line: Line, note: str = "") -> str:
        """Order something."""

    @abstractmethod
    def watch(self, sku: str) -> AsyncIterator[int]:
        """Prices, without end."""


@service(name="stock")
class Stock(Service):
    """Knows what is there."""

    @raises(SoldOut)
    @abstractmethod
    async def reserve(self, line: Line) -> int:
        """Keep something for an order."""


@service(name="prices")
class Prices(Service):
    """Knows what things cost."""

    @abstractmethod
    async def price(self, sku: str) -> int:
        """Cents of one piece."""


@component(name="shop", services=[Shop])
class ShopComponent(Component):
    """Hosts the shop."""


@component(name="stock", services=[Stock])
class StockComponent(Component):
    """Hosts the stock."""


@component(name="prices", services=[Prices])
class PricesComponent(Component):
    """Hosts the prices."""


@implementation()
class ShopImpl(Shop):
    """Asks the others."""

    def __init__(self, stock: Stock, prices: Prices) -> None:
        self._stock = stock
        self._prices = prices

    async def order(self, line: Line, note: str = "") -> str:
        """Reserve it, and tell what it costs."""
        await self._stock.reserve(line)
        return f"{line.amount} {line.sku} for {line.amount * await self._prices.price(line.sku)}{note}"

    async def watch(self, sku: str) -> AsyncIterator[int]:
        """Count up from the price."""
        cents = await self._prices.price(sku)
        while True:
            yield cents
            cents += 1


@implementation()
class StockImpl(Stock):
    """Has everything but unicorns."""

    async def reserve(self, line: Line) -> int:
        """Say how many are left."""
        if line.sku == "unicorn":
            raise SoldOut(line.sku)
        return 100 - line.amount


@implementation()
class PricesImpl(Prices):
    """One price for all."""

    async def price(self, sku: str) -> int:
        """Cents for each letter."""
        return len(sku)


@implementation()
class ShopComponentImpl(AbstractComponent, ShopComponent):
    """Nothing to start."""


@implementation()
class StockComponentImpl(AbstractComponent, StockComponent):
    """Nothing to start."""


@implementation()
class PricesComponentImpl(AbstractComponent, PricesComponent):
    """Nothing to start."""
