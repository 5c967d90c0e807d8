"""A small shop: orders, stock and pricing. Three services in two components, deployed together or apart.

    MESHCORE_MODULE=meshcore.examples.orders:OrdersModule hypercorn meshcore.app:app

serves both components. `CounterModule` and `WarehouseModule` serve one each, and the former then finds the latter
through the registry: not one line of the implementations is different.
"""

from meshcore import module

from .api import OrdersComponent, OrderService, PricingService, StockService, WarehouseComponent
from .database import Database
from .model import Draft, Item, Level, Note, Order, OrderNotFound, OrderStatus, OutOfStock, UnknownProduct
from .orders import DatabaseCheck, OrdersComponentImpl, OrderServiceImpl
from .pricing import PricingServiceImpl
from .stock import ShelfCheck, StockServiceImpl, WarehouseComponentImpl

__all__ = [
    "CounterModule",
    "Draft",
    "Item",
    "Level",
    "Note",
    "Order",
    "OrderNotFound",
    "OrderService",
    "OrderStatus",
    "OrdersClient",
    "OrdersComponent",
    "OrdersModule",
    "OutOfStock",
    "PricingService",
    "StockService",
    "UnknownProduct",
    "WarehouseComponent",
    "WarehouseModule",
]


@module(
    provides=[Database, OrderServiceImpl, OrdersComponentImpl, DatabaseCheck],
    components=[WarehouseComponent],
)
class CounterModule:
    """Serves orders; calls stock and pricing wherever they are."""


@module(provides=[Database, StockServiceImpl, PricingServiceImpl, WarehouseComponentImpl, ShelfCheck])
class WarehouseModule:
    """Serves stock and pricing."""


@module(imports=[CounterModule, WarehouseModule])
class OrdersModule:
    """Serves everything."""


@module(components=[OrdersComponent, WarehouseComponent])
class OrdersClient:
    """Serves nothing, and calls everything."""
