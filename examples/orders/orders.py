"""The implementation of the order service, and the component it is deployed in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from sqlite3 import Connection
from typing import Annotated
from uuid import UUID

import msgspec

from meshcore import (
    AbstractComponent,
    HealthCheckManager,
    health,
    health_check,
    health_checks,
    implementation,
    inject_value,
)

from .api import OrdersComponent, OrderService, PricingService, StockService
from .database import Database
from .model import Draft, Note, Order, OrderNotFound, OrderStatus, products


@implementation()
class OrderServiceImpl(OrderService):
    """Calls the stock and the pricing. Where they are, here or elsewhere, is none of its business."""

    def __init__(
        self,
        database: Database,
        stock: StockService,
        pricing: PricingService,
        currency: Annotated[str, inject_value("orders.currency", default="EUR")],
    ) -> None:
        self._database = database
        self._stock = stock
        self._pricing = pricing
        self._currency = currency

    async def place(self, order_id: UUID, draft: Draft) -> Order:
        try:
            return await self.find(order_id)
        except OrderNotFound:
            pass
        lines = tuple([await self._pricing.quote(line) for line in draft.lines])
        await self._stock.reserve(order_id, products(lines))
        order = Order(
            id=order_id,
            customer=draft.customer,
            lines=lines,
            placed_at=datetime.now(UTC),
            total=sum((line.quantity * line.price for line in lines if line.price), Decimal(0)),
            currency=self._currency,
            wanted_by=draft.wanted_by,
        )

        def insert(connection: Connection) -> Order:
            # Of two calls that place the same order at the same time the second finds the first one's.
            return _find(connection, order_id) or _save(connection, order)

        return await self._database.write(insert)

    async def find(self, order_id: UUID) -> Order:
        order = await self._database.read(lambda connection: _find(connection, order_id))
        if order is None:
            raise OrderNotFound(order_id)
        return order

    async def search(
        self, customer: str | None = None, status: OrderStatus | None = None, limit: int = 20
    ) -> tuple[Order, ...]:
        select = (
            "SELECT content FROM orders WHERE (?1 IS NULL OR customer = ?1) AND (?2 IS NULL OR status = ?2) "
            "ORDER BY placed DESC LIMIT ?3"
        )
        wanted = (customer, status.value if status else None, limit)
        rows = await self._database.read(lambda connection: connection.execute(select, wanted).fetchall())
        return tuple(msgspec.json.decode(content, type=Order) for (content,) in rows)

    async def add_note(self, order_id: UUID, note: Note) -> Order:
        def add(connection: Connection) -> Order:
            order = _find(connection, order_id)
            if order is None:
                raise OrderNotFound(order_id)
            added = note if note.at else replace(note, at=datetime.now(UTC))
            return _save(connection, replace(order, notes=(*order.notes, added)))

        return await self._database.write(add)

    async def cancel(self, order_id: UUID) -> Order:
        def cancel(connection: Connection) -> Order:
            order = _find(connection, order_id)
            if order is None:
                raise OrderNotFound(order_id)
            return _save(connection, replace(order, status=OrderStatus.CANCELLED))

        order = await self._database.write(cancel)
        await self._stock.release(order_id)
        return order


def _find(connection: Connection, order_id: UUID) -> Order | None:
    row = connection.execute("SELECT content FROM orders WHERE id = ?", [str(order_id)]).fetchone()
    return msgspec.json.decode(row[0], type=Order) if row else None


def _save(connection: Connection, order: Order) -> Order:
    content = msgspec.json.encode(order).decode()
    row = (str(order.id), order.customer, order.status.value, order.placed_at.timestamp(), content)
    connection.execute("REPLACE INTO orders VALUES (?, ?, ?, ?, ?)", row)
    return order


@health_checks()
class DatabaseCheck:
    def __init__(self, database: Database) -> None:
        self._database = database

    # Synchronous, so it runs in a worker thread.
    @health_check(name="database", cache=1.0, fail_if_slower_than=2.0)
    def check_database(self, result: HealthCheckManager.Result) -> None:
        """See whether the database answers."""
        with self._database.transaction(write=False) as connection:
            (count,) = connection.execute("SELECT COUNT(*) FROM orders").fetchone()
        result.details = f"{count} orders"


@implementation()
@health("/orders/health")
class OrdersComponentImpl(AbstractComponent, OrdersComponent): ...
