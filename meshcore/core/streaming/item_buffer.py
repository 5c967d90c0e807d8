"""The bounded buffer of a stream, between one writer and one reader. Pure: nothing waits here.

          end(error)               the items that are left, then the error
OPEN ───────────────────► ENDED ─────────────────────────────────────────► (the reader has all)
 │                          │
 └────────── close() ───────┴────► CLOSED, the items are dropped
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any


class Flow(Enum):
    """The state of a stream."""

    OPEN = "open"
    ENDED = "ended"
    CLOSED = "closed"


class StreamClosedError(Exception):
    """The other side of the stream has left it: its reader needs no more items, or its call has ended."""


class ItemBuffer:
    """The items that were written and not yet read.

    Args:
        limit: of the items. The writer waits while there are as many.

    Attributes:
        state: see the diagram.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[Any] = deque()
        self._error: BaseException | None = None
        self.state = Flow.OPEN

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether the writer has to wait."""
        return self.state is Flow.OPEN and len(self._items) >= self._limit

    @property
    def low(self) -> bool:
        """Whether a writer that waits may go on: at the half, so that it is not woken for each item."""
        return self.state is not Flow.OPEN or len(self._items) <= self._limit // 2

    @property
    def readable(self) -> bool:
        """Whether the reader need not wait: there is an item, or the end."""
        return bool(self._items) or self.state is not Flow.OPEN

    def put(self, item: Any) -> None:
        """Add an item.

        Raises:
            StreamClosedError: nobody will read it.
        """
        if self.state is not Flow.OPEN:
            raise StreamClosedError(f"the stream is {self.state.value}")
        self._items.append(item)

    def take(self) -> Any:
        """The next item.

        Raises:
            IndexError: there is none now.
        """
        return self._items.popleft()

    def take_all(self) -> list[Any]:
        """All items that are there."""
        items = list(self._items)
        self._items.clear()
        return items

    def end(self, error: BaseException | None = None) -> None:
        """Let the reader get the items that are left, and then the end or the error. The first end counts."""
        if self.state is Flow.OPEN:
            self.state = Flow.ENDED
            self._error = error

    def close(self) -> None:
        """Drop what is left, and refuse more."""
        self.state = Flow.CLOSED
        self._error = None
        self._items.clear()

    def take_error(self) -> BaseException | None:
        """The error that the stream ended with, once. Asked for when there are no items left."""
        error, self._error = self._error, None
        return error
