"""A value source for tests: a dictionary whose changes reach its watches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Self

from meshcore.core.instances import Failed
from meshcore.core.value import Value
from meshcore.ports.values import ValueSource, View


class MemoryValueSource(ValueSource):
    """Values that a test sets: `Mesh(Module, overrides={ValueSource: MemoryValueSource({"orders.currency": "EUR"})})`.

    Args:
        values: by dotted key, as text or plain data. None: the source does not answer.
    """

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        first: View | Failed | None = None if values is None else dict(values)
        self._view: Value[View | Failed | None] = Value(first)
        self._values: dict[str, object] = dict(values or {})

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Raise: a setting cannot name this source.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{cls.__name__} is made by a test, not by a setting such as {url!r}")

    def set(self, key: str, value: object) -> None:
        """Set one value."""
        self._values[key] = value
        self._view.set(dict(self._values))

    def delete(self, key: str) -> None:
        """Delete one value, if it exists."""
        self._values.pop(key, None)
        self._view.set(dict(self._values))

    def fail(self, cause: Exception) -> None:
        """Fail until the next change."""
        self._view.set(Failed(cause))

    async def watch(self) -> AsyncGenerator[View | Failed, None]:
        """Yield a view after each change."""
        changes = self._view.changes()
        try:
            if (first := self._view.get()) is not None:
                yield first
            async for view in changes:
                if view is not None:
                    yield view
        finally:
            await changes.aclose()
