"""The implementation of the stock, and the component it is deployed in."""

from __future__ import annotations

from sqlite3 import Connection
from uuid import UUID

from meshcore import (
    AbstractComponent,
    HealthCheckManager,
    HealthStatus,
    health,
    health_check,
    health_checks,
    implementation,
)

from .api import StockService, WarehouseComponent
from .database import Database
from .model import Level, OutOfStock, UnknownProduct


@implementation()
class StockServiceImpl(StockService):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def level(self, sku: str) -> Level:
        return await self._database.read(lambda connection: _level(connection, sku))

    async def reserve(self, order_id: UUID, quantities: dict[str, int]) -> None:
        def work(connection: Connection) -> None:
            if connection.execute("SELECT 1 FROM reservations WHERE order_id = ?", [str(order_id)]).fetchone():
                return
            for sku, quantity in quantities.items():
                available = _available(connection, sku)
                if quantity > available:
                    raise OutOfStock(sku, quantity, available)
                connection.execute("UPDATE stock SET available = available - ? WHERE sku = ?", [quantity, sku])
                connection.execute("INSERT INTO reservations VALUES (?, ?, ?)", [str(order_id), sku, quantity])

        await self._database.write(work)

    async def release(self, order_id: UUID) -> None:
        def work(connection: Connection) -> None:
            delete = "DELETE FROM reservations WHERE order_id = ? RETURNING quantity, sku"
            for row in connection.execute(delete, [str(order_id)]).fetchall():
                connection.execute("UPDATE stock SET available = available + ? WHERE sku = ?", row)

        await self._database.write(work)

    # The mesh runs it in a worker thread, so it may block.
    def restock(self, sku: str, quantity: int) -> Level:
        with self._database.transaction() as connection:
            connection.execute("UPDATE stock SET available = available + ? WHERE sku = ?", [quantity, sku])
            return _level(connection, sku)


def _level(connection: Connection, sku: str) -> Level:
    available = _available(connection, sku)
    reserved = connection.execute("SELECT SUM(quantity) FROM reservations WHERE sku = ?", [sku]).fetchone()
    return Level(sku, available, reserved[0] or 0)


def _available(connection: Connection, sku: str) -> int:
    row = connection.execute("SELECT available FROM stock WHERE sku = ?", [sku]).fetchone()
    if row is None:
        raise UnknownProduct(sku)
    available: int = row[0]
    return available


@health_checks()
class ShelfCheck:
    def __init__(self, database: Database) -> None:
        self._database = database

    @health_check(name="shelves", cache=1.0, fail_if_slower_than=2.0)
    async def check_shelves(self, result: HealthCheckManager.Result) -> None:
        """Warn when something is sold out."""
        sold_out = await self._database.read(
            lambda connection: connection.execute("SELECT sku FROM stock WHERE available = 0").fetchall()
        )
        if sold_out:
            result.set_status(HealthStatus.WARNING, f"sold out: {', '.join(sku for (sku,) in sold_out)}")


@implementation()
@health("/warehouse/health")
class WarehouseComponentImpl(AbstractComponent, WarehouseComponent): ...
