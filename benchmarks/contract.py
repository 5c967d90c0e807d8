"""What is called: the payload of the orders example, and a service that answers it. The client's side of it."""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from uuid import NAMESPACE_DNS, UUID, uuid5

from meshcore import Body, Component, Service, component, module, post, rest, service


class Kind(Enum):
    """What an item is."""

    PRODUCT = "product"
    BUNDLE = "bundle"


@dataclass
class Item:
    """A product, or a bundle of items."""

    id: UUID
    name: str
    kind: Kind
    quantity: int
    price: Decimal
    since: dt.datetime
    parts: list[Item] = field(default_factory=list)


@service()
@rest("/pricing")
class Pricing(Service):
    """The one service."""

    @abstractmethod
    @post("/quote")
    async def quote(self, item: Body[Item]) -> Item:
        """Answer the item as it is: the call is what is measured."""


@component(name="bench", services=[Pricing])
class BenchComponent(Component):
    """Offers it."""


@module(components=[BenchComponent])
class ClientModule:
    """For a process that calls; the implementation is in `served`."""


SINCE = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def bundle(depth: int = 2, number: int = 1) -> Item:
    """The argument of every call: a bundle of two bundles of two products, 7 items."""
    parts = [bundle(depth - 1, 2 * number + at) for at in (0, 1)] if depth else []
    kind = Kind.BUNDLE if parts else Kind.PRODUCT
    key = uuid5(NAMESPACE_DNS, str(number))
    return Item(key, f"item number {number}", kind, number, Decimal(1999 * number) / 100, SINCE, parts)
