"""Where orders and stock are kept: a SQLite file, which all processes that are told its path share."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock
from typing import Annotated, TypeVar

import anyio.to_thread

from meshcore import inject_value, injectable, on_destroy, on_init

from .prices import PRICES

T = TypeVar("T")

_ON_THE_SHELF = 1_000_000
_WAIT = 5.0  # seconds for another process's transaction
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, customer TEXT, status TEXT, placed REAL, content TEXT);
    CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, available INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS reservations (order_id TEXT, sku TEXT, quantity INTEGER, PRIMARY KEY (order_id, sku));
    CREATE INDEX IF NOT EXISTS reserved ON reservations (sku, quantity);
"""


@injectable()
class Database:
    def __init__(self, path: Annotated[str, inject_value("orders.database", default=":memory:")]) -> None:
        self._path = path
        self._lock = Lock()

    @on_init
    def open(self) -> None:
        """Connect, and fill the shelves of a new shop."""
        self._connection = sqlite3.connect(self._path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        # Readers and one writer at the same time; what a killed process has committed is safe.
        self._write_ahead()
        self._connection.execute("PRAGMA synchronous=NORMAL")
        with self.transaction() as connection:
            for statement in _SCHEMA.strip().split("\n"):
                connection.execute(statement)
            connection.executemany(
                "INSERT OR IGNORE INTO stock VALUES (?, ?)", [(sku, _ON_THE_SHELF) for sku in PRICES]
            )

    def _write_ahead(self) -> None:
        """Switch the file; SQLite does not wait by itself for another process that does so at the same moment."""
        give_up = time.monotonic() + _WAIT
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up:
                    raise
                time.sleep(0.01)  # there is nothing to wait for: SQLite tells nobody when it is free
            else:
                return

    @on_destroy
    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    @contextmanager
    def transaction(self, *, write: bool = True) -> Generator[sqlite3.Connection]:
        """All or nothing. Blocks: for code that runs in a thread."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function that only reads, in a thread: SQLite blocks, and the event loop must not."""
        return await anyio.to_thread.run_sync(self._run, work, False)  # noqa: FBT003 - a thread takes no keywords

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function that may write, likewise."""
        return await anyio.to_thread.run_sync(self._run, work, True)  # noqa: FBT003

    def _run(self, work: Callable[[sqlite3.Connection], T], write: bool) -> T:  # noqa: FBT001
        with self.transaction(write=write) as connection:
            return work(connection)
