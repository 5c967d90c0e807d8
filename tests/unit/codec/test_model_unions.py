"""Unions of pydantic models that contain themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic
import pytest

from meshcore.codec.wire_types import why_not_type

MEND = 'which takes too long to read: give it a discriminator, such as Field(discriminator="kind")'


class Add(pydantic.BaseModel):
    kind: Literal["add"]
    left: Add | Mul | int


class Mul(pydantic.BaseModel):
    kind: Literal["mul"]
    factors: list[Add | Mul]


class Nested(pydantic.BaseModel):
    inner: dict[str, Nested] | Nested | None = None


class Sum(pydantic.BaseModel):
    kind: Literal["sum"]
    left: Annotated[Sum | Product, pydantic.Field(discriminator="kind")] | None = None


class Product(pydantic.BaseModel):
    kind: Literal["product"]
    left: Annotated[Sum | Product, pydantic.Field(discriminator="kind")] | None = None


class Leaf(pydantic.BaseModel):
    size: int


class Branch(pydantic.BaseModel):
    children: list[Leaf | Branch]


class Mixed(pydantic.BaseModel):
    of: list[Mixed] | Mixed | int


@dataclass
class Plain:
    number: int


class OfDataclass(pydantic.BaseModel):
    of: list[Plain] | OfDataclass


for each in (OfDataclass, Add, Mul, Nested, Sum, Product, Branch, Mixed):
    each.model_rebuild()


@pytest.mark.parametrize(
    ("model", "where"), [(Add, "Add.left"), (Mul, "Mul.factors"), (Nested, "Nested.inner"), (list[Add], "Add.left")]
)
def test_a_union_that_two_of_its_members_contain_is_refused(model: type, where: str) -> None:
    """Each level would double the time: pydantic reads the level below once for each member."""
    reason = why_not_type(model)
    assert reason is not None
    assert f"{where} is a union that two of its members contain, {MEND}" in reason


@pytest.mark.parametrize("model", [Sum, Product, Branch, Mixed, OfDataclass])
def test_other_recursive_unions_travel(model: type) -> None:
    """A discriminator chooses one member, only one contains the union, or they are of different kinds in JSON."""
    assert why_not_type(model) is None
