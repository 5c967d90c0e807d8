"""What is called when there is much of it: many calls, many items, a large answer. The client's side of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator

from examples.orders.model import Item
from meshcore import Component, Service, component, idempotent, module, service


@service()
class Scale(Service):
    """What is called."""

    @abstractmethod
    @idempotent
    async def echo(self, item: Item) -> Item:
        """Answer the item as it is."""

    @abstractmethod
    @idempotent
    async def wait(self, item: Item, seconds: float) -> Item:
        """Answer the item after some time."""

    @abstractmethod
    @idempotent
    async def large(self, size: int) -> bytes:
        """Answer so many bytes."""

    @abstractmethod
    def count(self, number: int) -> AsyncIterator[int]:
        """So many numbers."""


@component(name="scale", services=[Scale])
class ScaleComponent(Component):
    """Offers it."""


@module(components=[ScaleComponent])
class ScaleClient:
    """For a process that calls; the implementation is in `served`."""
