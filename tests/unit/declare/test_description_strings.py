"""`describe` where all annotations are strings."""

from __future__ import annotations

import sys
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Generic, Protocol, TypeVar

import pytest

from meshcore import Body, Query, QueryParam, Service, describe, get, post, raises, rest, service

T = TypeVar("T")


@dataclass
class Node:
    name: str
    children: list[Node]


@dataclass
class Gone(Exception):
    node: Node


class Repo(Service, Generic[T]):
    @abstractmethod
    async def load(self, key: str, *, fallback: T | None = None) -> T: ...


@dataclass
class Later:
    """Defined after the interface that speaks of it."""

    at: float


@service()
class Plain(Protocol):
    def walk(self, start: Node, later: Later | None = None) -> list[Node]: ...


@service()
@rest("/nodes")
class Nodes(Repo[Node]):
    @get("/{name}")
    @raises(Gone)
    @abstractmethod
    def find(self, name: str, limit: QueryParam[int] = 10, sort: Annotated[str, Query("how")] = "") -> list[Node]: ...

    @post("/")
    @abstractmethod
    async def add(self, node: Body[Node], at: float = 0) -> None: ...


def test_types_and_marks_behind_strings() -> None:
    """Types, type variables, marks and exceptions are the same as without the future import."""
    found = {each.name: each for each in describe(Nodes).methods}
    assert [each.type for each in found["load"].parameters] == [str, Node | None]
    assert found["load"].returns is Node
    assert [(each.type, each.source and each.source.value) for each in found["find"].parameters] == [
        (str, "path"),
        (int, "query"),
        (str, "query"),
    ]
    assert found["find"].parameters[2].description == "how"
    assert found["find"].returns == list[Node]
    assert found["find"].raises == (Gone,)
    assert [each.type for each in found["add"].parameters] == [Node, float]
    assert found["add"].returns is None


def test_a_protocol_behind_strings() -> None:
    """A plain protocol's annotations may name what is defined later."""
    walk = describe(Plain).methods[0]
    assert [each.type for each in walk.parameters] == [Node, Later | None]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695 is of Python 3.12")
def test_the_type_variables_of_pep_695() -> None:
    """`class Repo[T](Service)` works, though its variables are in no namespace that strings are evaluated in."""
    namespace: dict[str, type] = {}
    source = """
from __future__ import annotations
from abc import abstractmethod
from meshcore import Service, service

class Repo[T](Service):
    @abstractmethod
    async def load(self, key: T | None) -> list[T]: ...

@service()
class Numbers(Repo[int]): ...
"""
    exec(source, namespace)
    load = describe(namespace["Numbers"]).methods[0]
    assert (load.parameters[0].type, load.returns) == (int | None, list[int])
