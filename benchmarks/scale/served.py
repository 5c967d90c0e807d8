"""The implementation of what is called when there is much of it. It does nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from benchmarks.scale.contract import Scale, ScaleComponent
from examples.orders.model import Item
from meshcore import AbstractComponent, implementation, module


@implementation()
class ScaleImpl(Scale):
    """Does nothing."""

    async def echo(self, item: Item) -> Item:
        """Answer the item as it is."""
        return item

    async def wait(self, item: Item, seconds: float) -> Item:
        """Answer the item after some time."""
        await asyncio.sleep(seconds)
        return item

    async def large(self, size: int) -> bytes:
        """Answer so many bytes."""
        return bytes(size)

    async def count(self, number: int) -> AsyncIterator[int]:
        """So many numbers."""
        for each in range(number):
            yield each


@implementation()
class ScaleComponentImpl(AbstractComponent, ScaleComponent):
    """The component."""


@module()
class ScaleModule:
    """What the server process serves."""
