"""The implementation of the contract, and the modules of processes that have it."""

from __future__ import annotations

from typing import Any

from benchmarks.contract import BenchComponent, Item, Pricing
from meshcore import AbstractComponent, Call, Handler, Interceptors, create, implementation, module

ADDED = 10


@implementation()
class PricingImpl(Pricing):
    """Does nothing, so that the call is all there is."""

    async def quote(self, item: Item) -> Item:
        """Answer the item as it is."""
        return item


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
    """The same with `ADDED` interceptors; a class inside a function, since a module takes what stands beside it."""

    class InterceptedModule:
        @create()
        def create_interceptors(self) -> Interceptors:
            return Interceptors(client=(pass_on,) * ADDED)

    return module(provides=[PricingImpl, BenchComponentImpl])(InterceptedModule)
