"""Wherever in a type there are keys, a codec finds those that collide before it inserts them, and no others."""

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, RootModel

from meshcore.codec.codec import JSON, MSGPACK, Codec
from meshcore.codec.errors import DecodeError
from meshcore.codec.flooding.key_hashes import LARGE, MAX_EQUAL
from meshcore.codec.flooding.large_maps import keys_of_large_maps
from meshcore.codec.text import from_text

MODULUS = 2**61 - 1
CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
FILLER = "x" * LARGE


@dataclass(frozen=True)
class Pair:
    left: UUID
    right: str = ""


@dataclass
class Node:
    kids: list["Node"]
    ids: set[UUID] = field(default_factory=set[UUID])
    text: str = FILLER


class Row(NamedTuple):
    number: int
    prices: set[Decimal]
    text: str = FILLER


class Typed(TypedDict):
    prices: dict[Decimal, str]
    text: str


class Plain(msgspec.Struct, tag="plain"):
    text: str = FILLER


class Tagged(msgspec.Struct, tag="tagged", rename="camel"):
    all_ids: frozenset[UUID]
    text: str = FILLER


class Listed(msgspec.Struct, array_like=True):
    text: str
    ids: dict[UUID, int]


class Basket(BaseModel):
    model_config = ConfigDict(strict=True)
    ids: set[UUID] = set()
    prices: dict[Decimal, str] = {}
    inner: list["Basket"] = []
    names: dict[str, int] = {}
    text: str = FILLER


class Numbers(RootModel[dict[int, str]]): ...


def ids(seed: int = 0) -> list[UUID]:
    """Of equal hash, unless there is a seed."""
    chance = random.Random(seed)
    return [UUID(int=chance.getrandbits(128) if seed else 9 + MODULUS * factor) for factor in range(200)]


def prices(seed: int = 0) -> list[Decimal]:
    """The same as decimals."""
    return [Decimal(int(each)) for each in ids(seed)]


PLACES: list[tuple[Any, Callable[[int], Any]]] = [
    (set[UUID], lambda seed: set(ids(seed))),
    (frozenset[Decimal | None], lambda seed: frozenset(prices(seed))),
    (dict[UUID, int], lambda seed: dict.fromkeys(ids(seed), 1)),
    (dict[Decimal, list[int]], lambda seed: {each: [1] for each in prices(seed)}),
    (dict[str, list[dict[Decimal, str]]], lambda seed: {"a": [{}, dict.fromkeys(prices(seed), "")]}),
    (set[tuple[str, UUID]], lambda seed: {("a", each) for each in ids(seed)}),
    (set[Pair], lambda seed: {Pair(each) for each in ids(seed)}),
    (set[frozenset[UUID]], lambda seed: {frozenset(ids(seed)), frozenset(ids(1))}),
    (tuple[str, set[UUID], None], lambda seed: (FILLER, set(ids(seed)), None)),
    (tuple[set[UUID], ...], lambda seed: (set[UUID](), set(ids(seed)))),
    (set[UUID] | None, lambda seed: set(ids(seed))),
    (dict[UUID, int] | set[UUID] | str, lambda seed: dict.fromkeys(ids(seed), 1)),
    (Annotated[set[UUID], msgspec.Meta(max_length=500, description="all")], lambda seed: set(ids(seed))),
    (Node, lambda seed: Node([Node([], set(ids(seed)))])),
    (Row, lambda seed: Row(1, set(prices(seed)))),
    (Typed, lambda seed: {"prices": dict.fromkeys(prices(seed), ""), "text": FILLER}),
    (list[Plain | Tagged], lambda seed: [Plain(), Tagged(frozenset(ids(seed)))]),
    (Listed, lambda seed: Listed(FILLER, dict.fromkeys(ids(seed), 1))),
    (Basket, lambda seed: Basket(inner=[Basket(ids=set(ids(seed)))])),
    (list[Basket], lambda seed: [Basket(prices=dict.fromkeys(prices(seed), ""))]),
    (Numbers, lambda seed: Numbers(dict.fromkeys(map(int, ids(seed)), ""))),
]
BY_PLACE = pytest.mark.parametrize(("type_", "make"), PLACES, ids=[str(type_)[:60] for type_, _ in PLACES])


@CODECS
@BY_PLACE
def test_keys_that_collide_are_found_at_any_place(codec: Codec, type_: Any, make: Callable[[int], Any]) -> None:
    """Before they are inserted anywhere."""
    data = codec.encoder(type_)(make(0))
    assert len(data) > LARGE
    with pytest.raises(DecodeError, match=r"^the hashes of \d+ keys collide, so they would take too long to read$"):
        codec.decoder(type_)(data)


@CODECS
@BY_PLACE
def test_other_keys_at_the_same_place_arrive(codec: Codec, type_: Any, make: Callable[[int], Any]) -> None:
    """Unchanged, in a body that is as large."""
    data = codec.encoder(type_)(make(7))
    assert codec.decoder(type_)(data) == make(7)


@CODECS
@BY_PLACE
def test_a_body_that_breaks_off_is_refused_without_its_keys(
    codec: Codec, type_: Any, make: Callable[[int], Any]
) -> None:
    """A decoder inserts the keys before it reaches the end."""
    data = codec.encoder(type_)(make(0))
    with pytest.raises(DecodeError, match=r"malformed|keys collide"):
        codec.decoder(type_)(data[:-1])


@pytest.mark.parametrize(
    "type_", [set[int], frozenset[int | str], dict[int, int], dict[float | int, int], set[Any], set]
)
def test_integers_that_json_can_write_collide_too(type_: Any) -> None:
    """Those of msgpack have 64 bits."""
    numbers = [9 + MODULUS * factor for factor in range(400)]
    body = numbers if "set" in str(type_) else dict.fromkeys(numbers, 1)
    with pytest.raises(DecodeError, match="collide"):
        JSON.decoder(type_)(msgspec.json.encode(body))


@pytest.mark.parametrize("type_", [Any, list[Any], dict[str, Any], list[dict[str, Any]]])
def test_untyped_maps_of_msgpack_are_searched(type_: Any) -> None:
    """Every 61st power of two has the same hash."""
    powers = {2.0**power: "x" * 200 for power in range(-1037, 1023, 61)}
    body = msgspec.msgpack.encode([{"a": powers}] if "list" in str(type_) else {"a": {"b": powers}})
    with pytest.raises(DecodeError, match="collide"):
        MSGPACK.decoder(type_)(body)
    with pytest.raises(DecodeError, match="collide"):
        MSGPACK.decoder(type_)(body[:-1])


KEYS = (
    st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(allow_nan=False) | st.tuples(st.integers(0, 9), st.text())
)
SCALARS = st.none() | st.integers(-300, 2**40) | st.text() | st.binary() | st.floats(allow_nan=False)
PACKED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(KEYS, inner, min_size=14, max_size=40),
    max_leaves=60,
)


def keys_in(value: Any) -> list[list[Any]]:
    """The keys of all dicts with more than 16, without texts, in the order in which the dicts end."""
    parts: list[Any] = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType, reportUnknownMemberType]
    found = [keys for part in parts for keys in keys_in(part)]
    large: dict[Any, Any] = value if isinstance(value, dict) and len(parts) > MAX_EQUAL else {}  # pyright: ignore[reportUnknownVariableType]
    return [*found, [key for key in large if not isinstance(key, str)]] if large else found


@settings(max_examples=60, deadline=None)
@given(PACKED)
def test_all_keys_of_large_maps_are_found(value: Any) -> None:
    """Exactly these, as the decoder makes them."""
    assert list(keys_of_large_maps(msgspec.msgpack.encode(value))) == keys_in(value)


@settings(max_examples=60, deadline=None)
@given(PACKED, st.integers(0, 1000), st.binary(max_size=3))
def test_malformed_maps_do_not_disturb_the_search(value: Any, at: int, noise: bytes) -> None:
    """It ends where the decoder ends, and what it finds has a hash."""
    data = msgspec.msgpack.encode(value)
    for keys in keys_of_large_maps(data[:at] + noise + data[at + 1 :]):
        hash(tuple(map(str, keys)))


def test_a_repeated_parameter_of_a_url_cannot_collide() -> None:
    """A server may accept long URLs."""
    read = from_text(set[UUID] | None)
    assert read([str(each) for each in ids(3)]) == set(ids(3))
    with pytest.raises(DecodeError, match="the hashes of 200 keys collide"):
        read([str(each) for each in ids()])


class Wide(BaseModel):
    numbers: list[int] = []
    named: dict[str, int] = {}
    when: dt.datetime | None = None


def test_a_model_ends_at_the_first_error_of_a_large_list() -> None:
    """A list of all errors may take a hundred times the memory of the body."""
    wrong = b'{"numbers":[%s1]}' % (b'"x",' * 3000)
    with pytest.raises(DecodeError, match=r"^\$\.numbers\[0\]: input should be a valid integer, [^(]*$"):
        JSON.decoder(Wide)(wrong)


def test_very_many_errors_of_a_model_are_counted_but_not_listed() -> None:
    """A dict does not end at its first error."""
    wrong = msgspec.json.encode({"named": {f"n{number}": "x" for number in range(3000)}})
    with pytest.raises(DecodeError, match=r"^\$: 3000 values do not fit$"):
        JSON.decoder(Wide)(wrong)
