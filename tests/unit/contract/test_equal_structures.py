"""Structures that are the same stand once in a contract."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, TypeVar

import msgspec
from pydantic import BaseModel

from meshcore import Service, raises, service
from meshcore.contract.contract import Field, MethodContract, Structure, Type
from meshcore.contract.equal_structures import merge_equal
from meshcore.contract.reader import service_contract
from meshcore.declare.reader import describe

T = TypeVar("T")


@dataclass
class Money:
    amount: Decimal
    currency: str = "EUR"


@dataclass
class Line:
    price: Money
    deposit: Money | None = None


class Basket(BaseModel):
    total: Money
    lines: list[Line]


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


class TooExpensive(Exception):
    def __init__(self, limit: Money) -> None:
        self.limit = limit


@service()
class Shop(Service):
    @raises(TooExpensive)
    @abstractmethod
    async def price(self, line: Line) -> Money: ...

    @abstractmethod
    async def fill(self, basket: Basket) -> Page[Money]: ...

    @abstractmethod
    async def lines(self) -> Page[Line]: ...


def test_a_class_within_a_model_is_the_class_itself():
    """Money and Line are reached as dataclasses and by the schema of a model. Two pages differ in what they hold."""
    contract = service_contract(describe(Shop))
    assert sorted(contract.types) == ["Basket", "Line", "Money", "Page", "Page#2"]
    assert str(contract.types["Basket"].fields[1].type) == "list[Line]"
    assert str(contract.types["Line"].fields[1].type) == "Money | None"
    (declared,) = contract.methods[0].raises
    assert str(declared.fields[0].type) == "Money"


def ref(name: str) -> Type:
    """A reference to a structure."""
    return Type("ref", name=name)


def node(name: str, leaf: str) -> Structure:
    """A structure that refers to one of its kind, and to a leaf."""
    return Structure((Field("next", ref(name)), Field("leaf", ref(leaf))))


INT, TEXT = Structure((Field("x", Type("int")),)), Structure((Field("x", Type("str")),))


def test_structures_in_circles():
    """Each refers to another with the same name; they are the same unless something that they reach differs."""
    methods = (MethodContract("m", (), ref("Node#2")),)
    same = {"Node": node("Node#2", "Leaf"), "Node#2": node("Node", "Leaf#2"), "Leaf": INT, "Leaf#2": INT}
    merged_methods, merged = merge_equal(methods, same)
    assert merged == {"Node": node("Node", "Leaf"), "Leaf": INT}
    assert merged_methods[0].returns == ref("Node")
    other = {**same, "Leaf#2": TEXT}
    assert merge_equal(methods, other) == (methods, other)


def test_the_third_may_be_the_first():
    """Not only neighbours are compared, and what is left keeps its name."""
    types = {"Leaf": INT, "Leaf#2": TEXT, "Leaf#3": INT, "Leaf#4": TEXT}
    methods = (MethodContract("m", (), Type("list", parts=(ref("Leaf#4"),))),)
    merged_methods, merged = merge_equal(methods, types)
    assert merged == {"Leaf": INT, "Leaf#2": TEXT}
    assert str(merged_methods[0].returns) == "list[Leaf#2]"
