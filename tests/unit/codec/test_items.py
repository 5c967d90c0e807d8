"""The limit of items: exact, the same in both formats, and only where a type does not bound them itself."""

import tracemalloc
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from meshcore.codec.codec import JSON, MSGPACK, Codec, Limits
from meshcore.codec.errors import DecodeError
from meshcore.codec.items import ItemsError, check_json_items, check_msgpack_items
from meshcore.codec.wire_types import Items, shape_of

CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
TEXT = st.text(st.sampled_from('"\\[]{}:,a\u00e9\u0080\u00dc'), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | TEXT
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(TEXT, inner), max_leaves=40)


@dataclass
class Tree:
    kids: list["Tree"] = field(default_factory=list["Tree"])


class Model(BaseModel):
    rows: list[list[int]] = []


class Empty(msgspec.Struct): ...


class Pair(msgspec.Struct, array_like=True):
    left: int
    right: list[int]


def items(value: Any, *, containers: bool) -> int:
    """How many a value has."""
    if not isinstance(value, list | dict):
        return 0
    parts: list[Any] = list(value.values()) if isinstance(value, dict) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType, reportUnknownMemberType]
    own = 1 if containers else max(1, len(parts))
    return own + sum(items(part, containers=containers) for part in parts)


@given(TREES, st.booleans())
def test_both_formats_count_the_same(value: Any, containers: bool) -> None:  # noqa: FBT001 - of hypothesis
    """A body passes with as many items as it has, and not with one less; if it has more bytes than that."""
    exact = items(value, containers=containers)
    for check, data in (
        (check_json_items, msgspec.json.encode(value)),
        (check_msgpack_items, msgspec.msgpack.encode(value)),
    ):
        check(data, exact, containers=containers)
        if 0 < exact <= len(data):
            with pytest.raises(ItemsError, match=f"^more than {exact - 1} items"):
                check(data, exact - 1, containers=containers)


@given(st.binary(max_size=200), st.integers(0, 9), st.booleans())
def test_any_bytes_are_passed_or_refused(data: bytes, limit: int, containers: bool) -> None:  # noqa: FBT001 - likewise
    """Malformed bodies end in a verdict about items or in none, never in another exception."""
    for check in (check_json_items, check_msgpack_items):
        try:
            check(data, limit, containers=containers)
        except ItemsError as error:
            assert str(limit) in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("type_", "counted"),
    [
        (int, Items.NONE),
        (list[int], Items.NONE),
        (dict[str, float], Items.NONE),
        (Empty, Items.NONE),
        (tuple[list[int], list[str]], Items.NONE),
        (list[list[float]], Items.CONTAINERS),
        (dict[str, Empty], Items.CONTAINERS),
        (list[tuple[int, int]], Items.CONTAINERS),
        (list[frozenset[str]], Items.CONTAINERS),
        (tuple[Pair, ...], Items.CONTAINERS),
        (set[str], Items.NONE),
        (set[int], Items.ALL),
        (dict[int, int], Items.ALL),
        (tuple[list[int], dict[str, dict[int, str]]], Items.ALL),
        (list[Decimal], Items.ALL),
        (list[msgspec.Raw], Items.ALL),
        (Any, Items.ALL),
        (list, Items.ALL),
        (dict, Items.ALL),
        (dict[str, Any], Items.ALL),
        (Tree, Items.ALL),
        (Model, Items.ALL),
    ],
)
def test_what_counts_depends_on_the_type(type_: Any, counted: Items) -> None:
    """What is no harm does not count."""
    assert shape_of(type_).items is counted


@CODECS
@pytest.mark.parametrize("type_", [Any, list[Any], list[list[int]], list[Any] | None, Model])
def test_a_codec_refuses_too_many(codec: Codec, type_: Any) -> None:
    """Above its limit, and not at it."""
    rows: list[Any] = [[]] * 90
    value = {"rows": rows} if type_ is Model else rows
    data = msgspec.json.encode(value) if codec is JSON else msgspec.msgpack.encode(value)
    decode = codec.decoder(type_, Limits(max_items=200))
    decode(data)
    with pytest.raises(DecodeError, match=r"^more than 50 items \(setting max_items\)$"):
        codec.decoder(type_, Limits(max_items=50))(data)


@CODECS
@pytest.mark.parametrize("type_", [list[int], list[float]])
def test_a_list_of_numbers_has_no_limit(codec: Codec, type_: Any) -> None:
    """It takes no more memory than the body allows."""
    numbers = [1] * 1000
    assert codec.decoder(type_, Limits(max_items=50))(codec.encoder(type_)(numbers)) == numbers


@pytest.mark.parametrize(
    "data", [b"\xdd\x00\x3f\x00\x00" + b"\x90" * 0x3F0000, b"\xdd\x00\x1f\x80\x00" + b"\x81\xa0" * 0x1F8000]
)
def test_a_body_of_empty_lists_takes_little_memory(data: bytes) -> None:
    """4 MB took 580 MB."""
    decode = MSGPACK.decoder(Any)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="more than 524288 items"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
