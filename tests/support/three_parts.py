"""The modules of the mesh in `three`: away from the implementations, so that each serves one component."""

from __future__ import annotations

from meshcore import module
from tests.support import three


@module(provides=[three.ShopImpl, three.ShopComponentImpl], components=[three.StockComponent, three.PricesComponent])
class ShopModule:
    """Serves the shop."""


@module(provides=[three.StockImpl, three.StockComponentImpl])
class StockModule:
    """Serves the stock."""


@module(provides=[three.PricesImpl, three.PricesComponentImpl])
class PricesModule:
    """Serves the prices."""
