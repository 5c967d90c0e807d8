"""Fingerprints: equal values have the same one, other values another one."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from meshcore.server.fingerprint import fingerprint


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(eq=False)
class Plain:
    tags: set[str]
    price: Decimal = Decimal(0)


class Other(msgspec.Struct):
    tags: set[str]
    price: Decimal = Decimal(0)


class Model(BaseModel):
    name: str
    secret: SecretStr = SecretStr("")
    at: IPv4Address = IPv4Address("127.0.0.1")


class Pair(NamedTuple):
    first: int
    second: float


NOON = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)
EAST = dt.timezone(dt.timedelta(hours=2))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, 1.0),
        (100, Decimal("1E+2")),
        (Decimal("1.10"), Decimal("1.1")),
        (0.0, -0.0),
        (0.1, Decimal("0.1")),
        (NOON, NOON.astimezone(EAST)),
        (dt.time(12, tzinfo=dt.UTC), dt.time(14, tzinfo=EAST)),
        ({1: "a", 2: "b"}, {2: "b", 1: "a"}),
        ({1, 9, 17}, {17, 9, 1}),
        (frozenset({frozenset({1}), frozenset({2})}), {frozenset({2}), frozenset({1})}),
        (b"ab", bytearray(b"ab")),
        (Plain({"a", "b"}, Decimal("1.0")), Plain({"b", "a"}, Decimal(1))),
        (Model(name="a"), Model(name="a", secret=SecretStr(""))),
        (Pair(1, 2), Pair(1, 2.0)),
        (float("nan"), float("nan")),
    ],
)
def test_equal_values(one: Any, two: Any) -> None:
    """However they are written, and in whatever order."""
    assert fingerprint(one) == fingerprint(two)


VALUES = [
    *(
        None,
        True,
        False,
        0,
        1,
        10,
        -1,
        0.5,
        "1",
        "",
        "None",
        b"1",
        [],
        [1],
        [[1]],
        [1, 1],
        [1, [1]],
        {},
        {1: 2},
        {2: 1},
    ),
    *(float("inf"), float("nan"), 10**400, 10**400 + 1, Decimal("1E+1000000"), Decimal("1E-7")),
    *(["ab"], ["a", "b"], ["a,b"], {"a"}, {"a", "b"}, {"ab"}, Colour.RED, Colour.BLUE),
    *(NOON, NOON.replace(tzinfo=None), NOON.replace(microsecond=1), NOON.date(), NOON.time(), NOON.timetz()),
    *(dt.datetime.max.replace(tzinfo=dt.UTC), dt.datetime.min.replace(tzinfo=EAST)),
    *(dt.timedelta(1), dt.timedelta(2), UUID(int=1), UUID(int=2), IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")),
    *(Plain(set()), Plain({"a"}), Plain(set(), Decimal(1)), Other(set()), Other({"a"})),
    *(Model(name="a"), Model(name="b"), Model(name="a", secret=SecretStr("x")), Model(name="a", secret=SecretStr("y"))),
]


def test_other_values() -> None:
    """What is not equal is told apart, also classes with the same fields."""
    assert len({fingerprint(value) for value in VALUES}) == len(VALUES)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3)
TREES = st.recursive(
    SCALARS | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(TREES, TREES)
def test_fingerprints_differ_if_values_do(one: Any, two: Any) -> None:
    """Whatever the values, but for booleans, which Python takes for numbers, and NaN."""
    if "nan" not in repr([one, two]).lower() and "True" not in repr([one, two]) and "False" not in repr([one, two]):
        assert (fingerprint(one) == fingerprint(two)) is (one == two)
