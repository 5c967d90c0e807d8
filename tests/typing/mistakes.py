"""What type checkers refuse. test_typing sees that each line that ends with `# wrong` is an error, and no other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Protocol

import meshcore
from meshcore import (
    BlockingMesh,
    Body,
    Mesh,
    QueryParam,
    Service,
    awaitable,
    blocking,
    get,
    in_thread,
    module,
    post,
    service,
    testing,
)
from meshcore.testing import MeshFactory


class Order:
    """Data."""


@service()
class Greeting(Service):
    @get("/hello")
    @abstractmethod
    async def hello(self, message: str, limit: QueryParam[int] = 10) -> str: ...

    @post("/orders")
    @abstractmethod
    def order(self, order: Body[Order]) -> Order: ...


@service()
class Asking(Protocol):
    async def ask(self, text: str) -> int: ...


@service()
class Streams(Service):
    @abstractmethod
    def watch(self, name: str) -> AsyncIterator[Order]: ...

    @abstractmethod
    async def load(self, orders: AsyncIterator[Order]) -> int: ...


class StreamsImpl(Streams):
    async def watch(self, name: str) -> AsyncIterator[int]:  # wrong
        yield 1

    async def load(self, orders: AsyncIterator[int]) -> int:  # wrong
        return 1


async def streamed(streams: Streams) -> None:
    """Streams are no lists, and nobody awaits them."""
    await streams.watch("a")  # wrong
    for order in streams.watch("a"):  # wrong
        del order
    await streams.load([Order()])  # wrong
    async for _ in blocking(streams.watch)("a"):  # wrong
        pass


@module()
class Client: ...


def misspelt() -> object:
    """A name that no package has, although all are loaded when they are asked for."""
    if testing.memory_mash is None:  # wrong
        return None
    return meshcore.Mash  # wrong


async def asynchronous(mesh: Mesh) -> None:
    """Wrong calls through proxies."""
    greeting = await mesh.get_service(Greeting)
    await greeting.hello()  # wrong
    await greeting.hello(3)  # wrong
    await greeting.hello("a", limit="b")  # wrong
    await greeting.hello("a", colour=1)  # wrong
    await greeting.helo("a")  # wrong
    number: int = await greeting.hello("a")  # wrong
    greeting.order("a")  # wrong
    asking = await mesh.get_service(Asking)
    await asking.ask(1)  # wrong
    text: str = await asking.ask("a")  # wrong
    other: Asking = await mesh.get_service(Greeting)  # wrong
    await mesh.get_service("greeting")  # wrong
    await mesh.get_service(Greeting, 3)  # wrong
    await mesh.get_servce(Greeting)  # wrong
    number = await mesh.get(Order)  # wrong
    await mesh.get("Order")  # wrong
    await awaitable(greeting.order)("a")  # wrong
    number = await awaitable(greeting.order)(Order())  # wrong
    del number, text, other


def synchronous(mesh: BlockingMesh) -> None:
    """The same behind the other door."""
    mesh.get_service(Greeting).order(3)  # wrong
    text: str = mesh.get_service(Asking)  # wrong
    mesh.wait_for(3)  # wrong
    greeting = mesh.get_service(Greeting)
    blocking(greeting.hello)(3)  # wrong
    blocking(greeting.hello)("a", colour=1)  # wrong
    number: int = blocking(greeting.hello)("a")  # wrong
    number = mesh.run(greeting.hello("a"))  # wrong
    mesh.run(greeting.order(Order()))  # wrong
    del number
    del text
    Mesh()  # wrong
    Mesh(Client, overrides=[Greeting])  # wrong


class Impl(Greeting):
    async def hello(self, message: int, limit: int = 10) -> str:  # wrong
        return str(message)

    def order(self, order: Order) -> str:  # wrong
        return str(order)


async def in_a_test(mesh_factory: MeshFactory) -> None:
    """What the fixture does not take."""
    mesh_factory(Client, instances="two")  # wrong
    async with mesh_factory(Client, overides={}):  # wrong
        pass


class OtherImpl(Greeting):
    @in_thread
    def hello(self, message: str, limit: int = 10) -> int:  # wrong
        return limit

    def order(self, order: Order) -> Order:
        return order


@service(nam="x")  # wrong
class Misspelt(Service): ...
