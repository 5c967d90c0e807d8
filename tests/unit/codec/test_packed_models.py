"""Pydantic models over msgpack: NaN arrives, and the fast way writes exactly what pydantic would."""

import enum
import math
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, Literal, Optional
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.codec.codec import JSON, MSGPACK
from meshcore.codec.errors import EncodeError
from meshcore.codec.packed_models import classes_of_plain

NUMBERS = [math.nan, math.inf, -math.inf]


class Part(pydantic.BaseModel):
    text: str
    number: float | None = None


class Whole(pydantic.BaseModel):
    """One field of each kind that is packed directly."""

    flag: bool
    count: int
    key: UUID
    day: date
    choice: Literal["a", 1] | None
    either: int | str
    parts: list[Part] = []
    pairs: tuple[int, str] = (0, "")
    more: tuple[float, ...] = ()
    named: dict[str, Part | None] = {}
    again: Optional["Whole"] = None
    _private: int = 3

    @pydantic.field_validator("count")
    @classmethod
    def _keep(cls, count: int) -> int:
        return count

    @pydantic.model_validator(mode="after")
    def _check(self) -> "Whole":
        return self


FLOATS = st.floats()
PARTS = st.builds(Part, text=st.text(), number=st.none() | FLOATS)
FIELDS: dict[str, Any] = {
    "flag": st.booleans(),
    "count": st.integers(-(2**63), 2**64 - 1),
    "key": st.uuids(),
    "day": st.dates(),
    "choice": st.sampled_from(["a", 1, None]),
    "either": st.integers(-9, 9) | st.text(),
    "parts": st.lists(PARTS, max_size=3),
    "pairs": st.tuples(st.integers(-9, 9), st.text()),
    "more": st.lists(FLOATS, max_size=3).map(tuple),
    "named": st.dictionaries(st.text(), st.none() | PARTS, max_size=3),
}
WHOLES = st.recursive(st.builds(Whole, **FIELDS), lambda inner: st.builds(Whole, **FIELDS, again=inner), max_leaves=3)


@given(value=WHOLES)
def test_a_plain_model_is_packed_as_pydantic_would_write_it(value):
    """The bytes are the same, so a receiver cannot tell which way was taken."""
    assert classes_of_plain(Whole) is not None
    packed = MSGPACK.encoder(Whole)(value)
    assert packed == msgspec.msgpack.encode(value.model_dump(mode="json"))
    assert repr(MSGPACK.decoder(Whole)(packed)) == repr(value)
    assert MSGPACK.encoder(list[Whole])([value]) == b"\x91" + packed


class Aliased(pydantic.BaseModel):
    size: int = pydantic.Field(alias="Size")


class Excluded(pydantic.BaseModel):
    size: int = pydantic.Field(0, exclude=True)


class Serialized(pydantic.BaseModel):
    size: int

    @pydantic.field_serializer("size")
    def _twice(self, size: int) -> int:
        return 2 * size


class Computed(pydantic.BaseModel):
    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def size(self) -> int:
        return 3


class Cached(pydantic.BaseModel):
    size: int = 1

    @cached_property
    def area(self) -> int:
        return self.size**2


class Loose(pydantic.BaseModel):
    value: Any


class Extra(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


class Colour(enum.Enum):
    RED = "red"


class Kinds(pydantic.BaseModel):
    colours: set[Colour] = set()


class Root(pydantic.RootModel[list[int]]): ...


@pytest.mark.parametrize("part", [Aliased, Excluded, Serialized, Computed, Cached, Loose, Extra, Kinds, Root])
def test_what_is_written_otherwise_is_not_plain(part):
    """Also as a part of another model."""
    outer = pydantic.create_model("Outer", parts=(list[part], ...), other=(int, 0))
    assert classes_of_plain(part) is None
    assert classes_of_plain(outer) is None
    assert classes_of_plain(int) is None


def test_what_pydantic_does_not_write_is_not_packed():
    """Fields of a subclass, and what a cached property keeps in its object."""

    class Animal(pydantic.BaseModel):
        name: str

    class Zoo(pydantic.BaseModel):
        animals: list[Animal]

    write = MSGPACK.encoder(Zoo)
    assert classes_of_plain(Zoo) == (Animal,)
    assert b"name" in write(Zoo(animals=[Animal(name="x")]))

    class Lion(Animal):  # after the codec was built
        secret: str

    assert b"secret" not in write(Zoo(animals=[Lion(name="x", secret="mane")]))
    cached = Cached()
    assert cached.area == 1
    assert b"area" not in MSGPACK.encoder(Cached)(cached)


def test_a_value_that_cannot_be_packed_is_named():
    """Pydantic finds it, after ormsgpack has given up."""
    with pytest.raises(EncodeError, match=r"^\$\.count: can't serialize ints"):
        MSGPACK.encoder(Whole)(Whole(flag=True, count=2**70, key=UUID(int=1), day=date.min, choice=1, either=1))


class Odd(pydantic.BaseModel):
    """A model that is not plain, with numbers that may be missing."""

    ratio: float | None = pydantic.Field(None, alias="Ratio")
    rows: list[float | None] = []
    value: Any = None


@dataclass
class Around:
    odd: Odd
    parts: list[Part] = field(default_factory=list)


class Constants(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_inf_nan="constants")
    ratio: float


class Texts(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")
    ratio: float


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "make",
    [
        lambda number: Part(text="", number=number),
        lambda number: Odd(Ratio=number),
        lambda number: Odd(rows=[None, number]),
        lambda number: Odd(value={"a": [number, None, b"x"]}),
        lambda number: Around(Odd(Ratio=number), [Part(text="", number=number)]),
        lambda number: Constants(ratio=number),
    ],
)
def test_nan_and_infinity_travel_over_msgpack_and_are_refused_by_json(make, number):
    """Whether the model is plain or not, and in Any; None beside them stays None."""
    value = make(number)
    type_ = type(value)
    read = MSGPACK.decoder(type_)(MSGPACK.encoder(type_, validate=True)(value))
    assert repr(read).replace("'x'", "b'x'") == repr(value)
    with pytest.raises(EncodeError, match="does not exist in JSON"):
        JSON.encoder(type_)(value)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_model_that_writes_them_as_text_travels_everywhere(number):
    """It is the user's choice, and is read back."""
    for codec in (JSON, MSGPACK):
        read = codec.decoder(Texts)(codec.encoder(Texts)(Texts(ratio=number)))
        assert repr(read) == repr(Texts(ratio=number))


def test_a_nan_that_pydantic_would_lose_is_refused():
    """In the Any of a model inside of another Any."""
    with pytest.raises(EncodeError, match="a NaN or an infinity in a model inside of Any would be written as null"):
        MSGPACK.encoder(Odd)(Odd(value=[Loose(value=math.nan)]))
    assert MSGPACK.decoder(Odd)(MSGPACK.encoder(Odd)(Odd(value=[Part(text="", number=1.5)]))).value == [
        {"text": "", "number": 1.5}
    ]
