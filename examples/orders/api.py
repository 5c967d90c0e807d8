"""What the parts of the shop offer to each other: three services in two components."""

from __future__ import annotations

from abc import abstractmethod
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from meshcore import (
    Body,
    Component,
    Query,
    QueryParam,
    Service,
    component,
    delete,
    get,
    idempotent,
    post,
    put,
    raises,
    rest,
    service,
)

from .model import Draft, Item, Level, Note, Order, OrderNotFound, OrderStatus, OutOfStock, Quantity, UnknownProduct


@service(name="orders", description="takes orders")
@rest("/orders")
class OrderService(Service):
    @put("/{order_id}")
    @raises(OutOfStock, UnknownProduct)
    @abstractmethod
    async def place(self, order_id: UUID, draft: Draft) -> Order:
        """Place an order.

        The client chooses the id, so placing the order again is harmless: it is there already and returned as it is.

        Args:
            order_id: chosen by the client.
            draft: what is wanted.
        """

    @get("/{order_id}")
    @raises(OrderNotFound)
    @abstractmethod
    async def find(self, order_id: UUID) -> Order:
        """The order of that id."""

    @get("")
    @abstractmethod
    async def search(
        self,
        customer: str | None = None,
        status: OrderStatus | None = None,
        limit: Annotated[int, Query(example=5), Meta(ge=0, le=1000)] = 20,
    ) -> tuple[Order, ...]:
        """The latest orders.

        Args:
            customer: only theirs.
            status: only these.
            limit: how many at most.
        """

    @post("/{order_id}/notes")
    @raises(OrderNotFound)
    @abstractmethod
    async def add_note(self, order_id: UUID, note: Note) -> Order:
        """Add a note to an order. Not idempotent: sent twice, the note is there twice."""

    @delete("/{order_id}")
    @raises(OrderNotFound)
    @abstractmethod
    async def cancel(self, order_id: UUID) -> Order:
        """Cancel an order and give back what was reserved for it."""


@service(name="stock", description="knows what is in the warehouse, and for whom")
@rest("/stock")
class StockService(Service):
    @get("/{sku}")
    @raises(UnknownProduct)
    @abstractmethod
    async def level(self, sku: str) -> Level:
        """How much of a product there is."""

    @put("/reservations/{order_id}")
    @raises(OutOfStock, UnknownProduct)
    @abstractmethod
    async def reserve(self, order_id: UUID, quantities: Body[dict[str, Quantity]]) -> None:
        """Reserve products for an order, all or none. For an order that has its reservation nothing happens."""

    @delete("/reservations/{order_id}")
    @abstractmethod
    async def release(self, order_id: UUID) -> None:
        """Give back what is reserved for an order, if anything is."""

    @post("/{sku}/deliveries")
    @raises(UnknownProduct)
    @abstractmethod
    def restock(self, sku: str, quantity: QueryParam[Quantity]) -> Level:
        """Add what was delivered; by `def`, for the warehouse's own synchronous tools. Not idempotent."""


@service(name="pricing", description="knows what things cost")
@rest("/pricing")
class PricingService(Service):
    @post("/quotes")
    @idempotent
    @raises(UnknownProduct)
    @abstractmethod
    async def quote(self, item: Item) -> Item:
        """The item with the prices of all that is in it."""

    @get("/prices/{sku}")
    @raises(UnknownProduct)
    @abstractmethod
    async def price(self, sku: str) -> Decimal:
        """The price of one product."""


@component(name="orders", description="the counter", services=[OrderService])
class OrdersComponent(Component): ...


@component(name="warehouse", description="the back room", services=[StockService, PricingService])
class WarehouseComponent(Component): ...
