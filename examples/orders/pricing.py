"""The implementation of pricing."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

from meshcore import implementation

from .api import PricingService
from .model import Item, UnknownProduct
from .prices import BUNDLE_DISCOUNT, PRICES

_CENT = Decimal("0.01")


@implementation()
class PricingServiceImpl(PricingService):
    async def quote(self, item: Item) -> Item:
        return _quote(item)

    async def price(self, sku: str) -> Decimal:
        return _price(sku)


def _quote(item: Item) -> Item:
    if not item.parts:
        return replace(item, price=_price(item.sku))
    parts = tuple(map(_quote, item.parts))
    full = sum((part.quantity * part.price for part in parts if part.price), Decimal(0))
    return replace(item, price=(full * (1 - BUNDLE_DISCOUNT)).quantize(_CENT, ROUND_HALF_UP), parts=parts)


def _price(sku: str) -> Decimal:
    try:
        return PRICES[sku]
    except KeyError:
        raise UnknownProduct(sku) from None
