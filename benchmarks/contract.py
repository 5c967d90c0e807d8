"""What is called: `PricingService.quote` of the orders example, with a bundle of items. The client's side of it."""

from __future__ import annotations

from decimal import Decimal

from examples.orders.api import PricingService
from examples.orders.model import Item
from meshcore import Component, component, module


@component(name="bench", services=[PricingService])
class BenchComponent(Component):
    """Offers pricing alone."""


@module(components=[BenchComponent])
class ClientModule:
    """For a process that calls; the implementation is in `served`."""


def bundle(depth: int = 2, number: int = 1) -> Item:
    """The argument of every call: a bundle of two bundles of two products, 7 items that recur in themselves."""
    parts = tuple(bundle(depth - 1, 2 * number + at) for at in (0, 1)) if depth else ()
    return Item(f"item-number-{number}", number, Decimal(1999 * number) / 100, parts)
