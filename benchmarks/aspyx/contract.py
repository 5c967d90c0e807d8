"""The benchmark's contract in aspyx's words; it runs only in the environment of aspyx-service.

aspyx cannot type recursive classes, so the tree of 7 nodes is three nested classes of the same content
(480 bytes as JSON, 371 as msgpack). No `from __future__ import annotations`: aspyx needs the types, not strings.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

from aspyx_service import Component, Service, component, post, rest, service
from aspyx_service.restchannel import BodyMarker


@dataclass
class Leaf:
    """A node of the third level; its children are always empty."""

    id: int
    name: str
    weight: float
    tags: list[str]
    children: list[str]


@dataclass
class Branch:
    """A node of the second level."""

    id: int
    name: str
    weight: float
    tags: list[str]
    children: list[Leaf]


@dataclass
class Tree:
    """The root."""

    id: int
    name: str
    weight: float
    tags: list[str]
    children: list[Branch]


def tree() -> Tree:
    """The argument of every call: 7 nodes, numbered depth first."""

    def fields(number: int) -> tuple[int, str, float, list[str]]:
        return number, f"node-{number}", number * 1.5, ["x", "y"]

    return Tree(*fields(1), [Branch(*fields(n), [Leaf(*fields(n + 1), []), Leaf(*fields(n + 2), [])]) for n in (2, 5)])


@service(name="bench-sync", description="benchmark, blocking")
@rest("/sync")
class SyncBench(Service):
    """The blocking interface."""

    @abstractmethod
    @post("/echo")
    def echo(self, tree: Annotated[Tree, BodyMarker()]) -> Tree:
        """Answer the same tree."""


@service(name="bench-async", description="benchmark, coroutines")
@rest("/async")
class AsyncBench(Service):
    """The coroutine interface."""

    @abstractmethod
    @post("/echo")
    async def echo(self, tree: Annotated[Tree, BodyMarker()]) -> Tree:
        """Answer the same tree."""


@component(name="bench-component", description="benchmark", services=[SyncBench, AsyncBench])
class BenchComponent(Component):
    """Offers both services."""
