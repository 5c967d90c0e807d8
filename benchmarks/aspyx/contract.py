"""The benchmark's contract in aspyx's words; it runs only in the environment of aspyx-service.

What aspyx cannot type is made easy for it: of a recursive class it converts nothing, so the tree of 7 items is three
nested classes; and it has no Decimal, so prices are texts, as they are on our wire. So the bodies are alike, and aspyx
has less to convert. No `from __future__ import annotations`: aspyx needs the types, not strings.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

from aspyx_service import Component, Service, component, post, rest, service
from aspyx_service.restchannel import BodyMarker


@dataclass
class Leaf:
    """An item of the third level; its parts are always empty."""

    sku: str
    quantity: int
    price: str
    parts: list[str]


@dataclass
class Branch:
    """An item of the second level."""

    sku: str
    quantity: int
    price: str
    parts: list[Leaf]


@dataclass
class Tree:
    """The root."""

    sku: str
    quantity: int
    price: str
    parts: list[Branch]


def tree() -> Tree:
    """The argument of every call, with the values of our own contract: 7 items, numbered by levels."""

    def fields(number: int) -> tuple[str, int, str]:
        return f"item-number-{number}", number, f"{1999 * number // 100}.{1999 * number % 100:02d}"

    branches = [Branch(*fields(n), [Leaf(*fields(2 * n + at), []) for at in (0, 1)]) for n in (2, 3)]
    return Tree(*fields(1), branches)


@service(name="bench-sync", description="benchmark, blocking")
@rest("/sync")
class SyncBench(Service):
    """The blocking interface."""

    @abstractmethod
    @post("/echo")
    def echo(self, tree: Annotated[Tree, BodyMarker()]) -> Tree:
        """Answer the same tree."""

    @abstractmethod
    @post("/empty")
    def empty(self) -> int:
        """Do nothing; aspyx's clients need a result that has a type."""

    @abstractmethod
    @post("/text")
    def text(self, text: Annotated[str, BodyMarker()]) -> str:
        """Answer the same text."""


@service(name="bench-async", description="benchmark, coroutines")
@rest("/async")
class AsyncBench(Service):
    """The coroutine interface."""

    @abstractmethod
    @post("/echo")
    async def echo(self, tree: Annotated[Tree, BodyMarker()]) -> Tree:
        """Answer the same tree."""

    @abstractmethod
    @post("/empty")
    async def empty(self) -> int:
        """Do nothing; aspyx's clients need a result that has a type."""

    @abstractmethod
    @post("/text")
    async def text(self, text: Annotated[str, BodyMarker()]) -> str:
        """Answer the same text."""


@component(name="bench-component", description="benchmark", services=[SyncBench, AsyncBench])
class BenchComponent(Component):
    """Offers both services."""
