"""The implementation of the contract, and the modules of processes that have it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from benchmarks.contract import BenchComponent
from examples.orders.api import PricingService
from examples.orders.model import Item
from meshcore import AbstractComponent, Call, Handler, Interceptors, create, implementation, module

ADDED = 10


@implementation()
class EchoPricing(PricingService):
    """Does nothing, so that the call is all there is; the example's own takes 20 us to look up prices."""

    async def quote(self, item: Item) -> Item:
        """Answer the item as it is."""
        return item

    async def price(self, sku: str) -> Decimal:  # noqa: ARG002 - it is not called
        """Answer nothing of interest."""
        return Decimal(0)


@implementation()
class BenchComponentImpl(AbstractComponent, BenchComponent):
    """The component."""


@module()
class ServedModule:
    """What the server process serves, and what a local call reaches."""


async def pass_on(handler: Handler, call: Call) -> Any:
    """The least that an interceptor can do."""
    return await handler(call)


def intercepted() -> type:
    """The same with `ADDED` interceptors; made by a function, since a module takes what stands beside it."""

    class InterceptedModule:
        @create()
        def create_interceptors(self) -> Interceptors:
            return Interceptors(client=(pass_on,) * ADDED)

    return module(provides=[EchoPricing, BenchComponentImpl])(InterceptedModule)
