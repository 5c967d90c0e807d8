"""What checks the encoded results of dataclasses takes nothing that these refuse, and leaves their own code its say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.codec.codec import JSON, MSGPACK, Codec
from meshcore.codec.errors import EncodeError
from meshcore.codec.read_back.quick_type import quick_type
from meshcore.codec.wire_types import shape_of

T = TypeVar("T")


@dataclass
class Leaf:
    name: str
    size: Annotated[int, msgspec.Meta(ge=0)] = 3


@dataclass(frozen=True, slots=True)
class Branch:
    leaf: Leaf | None
    below: list[Branch] = field(default_factory=list["Branch"])
    named: dict[str, Leaf] = field(default_factory=dict[str, Leaf])
    pair: tuple[int, Leaf] | None = None


@dataclass
class Checked:
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("it is negative")


@dataclass
class HasChecked:
    part: Checked
    leaf: Leaf


@dataclass
class Page(Generic[T]):
    items: list[T]


class Even:
    """A descriptor, which runs when a decoder sets the field."""

    def __get__(self, of: Any, cls: type) -> int:
        return 0 if of is None else of.__dict__["number"]

    def __set__(self, of: Any, number: int) -> None:
        if number % 2:
            raise ValueError("it is odd")
        of.__dict__["number"] = number


@dataclass
class Described:
    number: int = Even()  # type: ignore[assignment]


TYPES = [Leaf, Branch, HasChecked, list[Branch], dict[str, Leaf], tuple[Leaf, ...], tuple[int, Leaf], Branch | None]

leaves: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"name": st.text(max_size=2) | st.none()}, optional={"size": st.integers(-1, 3), "x": st.none()}
)
parts: st.SearchStrategy[Any] = st.fixed_dictionaries({"number": st.integers(-1, 2)})
branches: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries({"leaf": leaves | st.none()}),
    lambda inner: st.fixed_dictionaries(
        {"leaf": leaves | st.none(), "below": st.lists(inner, max_size=2)},
        optional={
            "named": st.dictionaries(st.text(max_size=2), leaves, max_size=2),
            "pair": st.none() | st.tuples(st.integers(0, 2), leaves),
        },
    ),
    max_leaves=4,
)
values = leaves | branches | st.fixed_dictionaries({"part": parts, "leaf": leaves})
bodies = values | st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=2), values, max_size=2)


@given(bodies)
def test_what_it_takes_the_type_takes(body: Any) -> None:
    """No body that it takes is refused by the type."""
    packed, text = msgspec.msgpack.encode(body), msgspec.json.encode(body)
    for type_ in TYPES:
        quick = quick_type(type_)
        assert quick is not None
        for data, read in ((packed, msgspec.msgpack.decode), (text, msgspec.json.decode)):
            try:
                read(data, type=quick)
            except msgspec.ValidationError:
                continue
            read(data, type=type_)


@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_it_has_the_same_limits(type_: Any) -> None:
    """Depth and items are counted alike."""
    assert shape_of(quick_type(type_)) == shape_of(type_)


def test_it_takes_what_is_written() -> None:
    """A value that fits its type is checked without the type."""
    value = Branch(Leaf("a"), [Branch(None)], {"b": Leaf("c", 0)}, (1, Leaf("d")))
    for encode, decode in (
        (msgspec.msgpack.encode, msgspec.msgpack.decode),
        (msgspec.json.encode, msgspec.json.decode),
    ):
        decode(encode(value), type=quick_type(Branch))


@pytest.mark.parametrize("type_", [int, list[int], Checked, Described, Page[Leaf], Sequence[int], None, Any], ids=str)
def test_other_types_stay_what_they_are(type_: Any) -> None:
    """Nothing replaces a type whose code may refuse a value, or that is fast already."""
    assert quick_type(type_) is None


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
def test_results_are_refused_as_before(codec: Codec) -> None:
    """The error is that of the type, and its own code runs."""
    write = codec.encoder(Branch, validate=True)
    with pytest.raises(EncodeError, match="expected int, got str") as raised:
        write(Branch(None, [Branch(Leaf("a", "b"))]))  # type: ignore[arg-type]
    assert raised.value.path == "$.below[0].leaf.size"
    with pytest.raises(EncodeError, match=">= 0"):
        write(Branch(Leaf("a", -1)))
    part = Checked(1)
    part.number = -1
    with pytest.raises(EncodeError, match="it is negative"):
        codec.encoder(HasChecked, validate=True)(HasChecked(part, Leaf("a")))


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
def test_what_only_the_type_takes_is_sent(codec: Codec) -> None:
    """A field that was deleted is not written, and read as its default."""
    leaf = Leaf("a", 5)
    del leaf.__dict__["size"]
    data = codec.encoder(Leaf, validate=True)(leaf)
    assert codec.decoder(Leaf)(data) == Leaf("a", 3)


def test_results_too_deep_are_refused() -> None:
    """The limit of the depth holds for what is checked."""
    branch = Branch(None)
    for _ in range(200):
        branch = Branch(None, [branch])
    with pytest.raises(EncodeError, match="nested deeper than 128"):
        MSGPACK.encoder(Branch, validate=True)(branch)
