"""The data of the example. All of it is immutable, so it may be shared by whoever calls whom in one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, TypeAlias
from uuid import UUID

from msgspec import Meta

from meshcore import Code

Quantity: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]
# With its zone: what a datetime without one means is anybody's guess.
Instant: TypeAlias = Annotated[datetime, Meta(tz=True)]


class OrderStatus(Enum):
    PLACED = "placed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Item:
    """A product, or a bundle of other items, which may be bundles again.

    Attributes:
        sku: names the product, or the bundle.
        quantity: how many of it, per bundle that it is in.
        price: of one; None as long as nobody quoted it.
        parts: empty for a product.
    """

    sku: str
    quantity: Quantity = 1
    price: Decimal | None = None
    parts: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    author: str
    text: str
    at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """What a customer wants."""

    customer: str
    lines: tuple[Item, ...]
    wanted_by: date | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer gets."""

    id: UUID
    customer: str
    lines: tuple[Item, ...]
    placed_at: Instant
    total: Decimal
    currency: str
    status: OrderStatus = OrderStatus.PLACED
    wanted_by: date | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Level:
    """How much of a product there is."""

    sku: str
    available: int
    reserved: int


# Exceptions that travel. They are compared by identity, as exceptions are: tracebacks need them hashable.
@dataclass(eq=False)
class OutOfStock(Exception):
    sku: str
    wanted: int
    available: int

    def __str__(self) -> str:
        return f"{self.wanted} of {self.sku} wanted, {self.available} available"


@dataclass(eq=False)
class UnknownProduct(Exception):
    sku: str

    code = Code.NOT_FOUND

    def __str__(self) -> str:
        return f"nothing is known of {self.sku}"


@dataclass(eq=False)
class OrderNotFound(Exception):
    order_id: UUID

    code = Code.NOT_FOUND

    def __str__(self) -> str:
        return f"there is no order {self.order_id}"


def products(items: Iterable[Item], times: int = 1) -> Counter[str]:
    """How many of each product are in the items, bundles taken apart."""
    found: Counter[str] = Counter()
    for item in items:
        if item.parts:
            found += products(item.parts, times * item.quantity)
        else:
            found[item.sku] += times * item.quantity
    return found
