"""A model whose values are not read back as they are written cannot travel; all others can."""

import collections
import datetime as dt
import enum
import ipaddress
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from meshcore.codec.codec import JSON, MSGPACK
from meshcore.codec.errors import TravelError
from meshcore.codec.wire_types import why_not_type

T = TypeVar("T")


class Level(enum.Enum):
    LOW = 1


class Colour(enum.Enum):
    RED = "red"


class Short(enum.StrEnum):
    A = "a"


class Paid(pydantic.BaseModel):
    order: int


class Refunded(pydantic.BaseModel):
    order: int


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]
    total: int = 0


class Node(pydantic.BaseModel):
    value: float
    children: list["Node"] = []


class Numbers(pydantic.RootModel[dict[str, int]]): ...


class Point(NamedTuple):
    x: int
    y: str = "a"


class Options(TypedDict, total=False):
    at: dt.datetime


@dataclass
class Plain:
    number: int


def with_field(type_: Any, default: Any = ..., /, **config: Any) -> type[pydantic.BaseModel]:
    """A model `M` with a field of this type."""
    return pydantic.create_model("M", __config__=pydantic.ConfigDict(**config), f=(type_, default))


def written(write: Any, type_: Any) -> Any:
    """A type with a serializer of the user's."""
    return Annotated[type_, pydantic.PlainSerializer(write)]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (with_field(pydantic.Json[list[int]]), "M.f cannot be read as it is written, for example "),
        (with_field(dict[tuple[int, int], str]), "M.f."),
        (with_field(dict[int | None, int]), "M.f."),
        (with_field(dict[Level, int]), "M.f."),
        (with_field(bytes, val_json_bytes="base64"), "M.f "),
        (with_field(bytes, ser_json_bytes="base64"), "M.f is read back as another value: b'"),
        (with_field(bytes, ser_json_bytes="hex", val_json_bytes="base64"), "M.f "),
        (with_field(Paid | Refunded), "M.f is read back as another value: Refunded(order=0) as Paid(order=0)"),
        (with_field(list[Paid | Refunded]), "M.f is read back as another value: [Refunded(order=0)]"),
        (with_field(list[str] | set[str]), "M.f is read back as another value: set() as []"),
        (with_field(tuple[int, ...] | list[int]), "M.f is read back as another value: () as []"),
        (with_field(dict[int | str, str]), "M.f is read back as another value: {0: 'a'} as {'0': 'a'}"),
        (with_field(str | dt.datetime), "M.f is read back as another value: datetime.datetime("),
        (with_field(uuid.UUID | str), "M.f is read back as another value: '0000"),
        (with_field(Short | str), "M.f is read back as another value: <Short.A: 'a'> as 'a'"),
        (
            with_field(int, pydantic.Field(exclude_if=lambda value: value > 10**6)),
            "M.f is required, but may be left out of what is written (exclude_if); give it a default",
        ),
        (
            with_field(int, pydantic.Field(7, exclude_if=lambda value: value == 0)),
            "M.f is read back as another value: 0 as 7",
        ),
        (with_field(written(lambda at: at.strftime("%d.%m.%Y"), dt.date)), "M.f cannot be read as it is written"),
        (with_field(written(lambda _: "****", str)), "M.f is read back as another value: 'a' as '****'"),
        (with_field(list[with_field(dict[Level, int])]), "M.f."),
        (with_field(Annotated[int, pydantic.AfterValidator(lambda value: value + 1)]), "M.f is read back as another"),
    ],
    ids=str,
)
def test_a_model_that_is_not_read_as_it_is_written_is_refused(model, reason):
    """With the field and a value; also inside of another model or container."""
    outer = pydantic.create_model("Outer", inner=(Page[model], ...), more=(int, 0))
    for type_ in (model, outer):
        text = why_not_type(type_)
        assert text is not None
        assert text.startswith(reason)
        assert "\n" not in text
    with pytest.raises(TravelError, match=r"^\$\[\]: M\.f"):
        JSON.encoder(list[model])


@attrs.define
class Private:
    name: str
    _pin: int = 0


@attrs.define
class Renamed:
    name: str = attrs.field(alias="title")
    length: int = attrs.field(init=False, default=0)


class Camel(msgspec.Struct, rename="camel"):
    unit_price: int
    _hidden: int = 0


@dataclass
class Underscored:
    name: str
    _pin: int = 0


def test_private_and_renamed_fields_of_other_classes():
    """Those of attrs are lost if they are private; all others arrive."""
    text = "Private._pin is private: msgspec does not write private fields of attrs, so rename it"
    assert why_not_type(Private) == text
    assert why_not_type(list[Private]) == f"$[]: {text}"
    renamed = Renamed(title="a")
    renamed.length = 3
    for value in (renamed, Camel(1, 2), Underscored("a", 4)):
        for codec in (JSON, MSGPACK):
            type_ = type(value)
            assert codec.decoder(type_)(codec.encoder(type_)(value)) == value


@dataclass
class Doubled:
    amount: int
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.amount *= 2


class Counted(msgspec.Struct):
    names: list[str]

    def __post_init__(self) -> None:
        self.names = [*self.names, str(len(self.names))]


@attrs.define
class Once:
    amount: int

    def __attrs_post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError("is below 0")
        self.amount = -1 - self.amount


@dataclass
class Clean:
    name: str
    amount: int | None = None
    more: "list[Clean]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.name.strip().lower()
        self.length = len(self.name)


@dataclass(eq=False)
class Unequal:
    made: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.made = [*self.made, "x"]


class Picky(msgspec.Struct):
    low: Annotated[int, msgspec.Meta(ge=5)]
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (Doubled, "Doubled.amount is read back as another value: 6 as 12"),
        (Counted, "Counted.names is read back as another value: ['a', '1'] as ['a', '1', '2']"),
        (list[Once], "$[]: Once cannot be read as it is written, for example Once(amount=-4): is below 0"),
        (Clean, None),
        (Unequal, None),
        (Picky, None),
    ],
)
def test_classes_whose_own_code_changes_what_is_read(type_, reason):
    """Their code runs for a decoded value once more."""
    assert why_not_type(type_) == reason


FINE: list[Any] = [
    *(bool, int, float, str, bytes, None, Any, Decimal, uuid.UUID, pathlib.Path, ipaddress.IPv4Address),
    *(dt.datetime, dt.date, dt.time, dt.timedelta, dt.date | dt.datetime, pydantic.HttpUrl, pydantic.ByteSize),
    *(Colour, Short, Level, Literal["a", 1], int | None, int | str, str | float | bool | None, int | float),
    *(
        Cat | Dog,
        Annotated[Cat | Dog, pydantic.Field(discriminator="kind")],
        Node,
        Numbers,
        Page[Paid],
        Page[Cat | Dog],
    ),
    *(Point, Options, Plain, Paid, list[Paid], dict[str, Paid], set[int], frozenset[str], tuple[int, str]),
    *(dict[int, str], dict[dt.date, int], dict[uuid.UUID, int], dict[Colour, int], dict[Short, int]),
    *(Sequence[int], Mapping[str, int], collections.deque[int], collections.defaultdict[str, int], list[int] | int),
    *(pydantic.PositiveInt, pydantic.UUID4, pydantic.AwareDatetime, pydantic.NaiveDatetime, pydantic.FutureDate),
    *(pydantic.constr(min_length=3), pydantic.constr(pattern="^[xy]+$"), pydantic.conlist(int, min_length=2)),
    *(pydantic.confloat(gt=0.5, lt=0.75), pydantic.Base64Bytes, pydantic.JsonValue, pydantic.StrictInt, object),
]


@pytest.mark.parametrize("type_", FINE, ids=str)
def test_ordinary_models_travel(type_):
    """No usual type is taken for one that is not read back."""
    assert why_not_type(with_field(type_)) is None
    assert why_not_type(with_field(type_, strict=True)) is None or type_ in {dict[int, str], pydantic.ByteSize}


class Account(pydantic.BaseModel):
    """What validators of users do."""

    model_config = pydantic.ConfigDict(alias_generator=str.upper, extra="forbid")

    name: str
    password: str = pydantic.Field("", exclude=True)
    created: dt.datetime = pydantic.Field(default_factory=lambda: dt.datetime.now(dt.UTC))
    low: int = 0
    high: int = 10

    @pydantic.field_validator("name")
    @classmethod
    def _clean(cls, name: str) -> str:
        return name.strip().lower()

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> "Account":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Moody(pydantic.BaseModel):
    """Nothing that is tried is a value of it."""

    name: str

    @pydantic.field_validator("name")
    @classmethod
    def _never(cls, name: str) -> str:
        raise KeyError(name)


def test_validators_are_asked_for_what_is_a_value():
    """What they refuse is not tried, and what they change arrives as it is."""
    assert why_not_type(Account) is None
    assert why_not_type(Moody) is None


def test_a_model_is_tried_once():
    """However many types contain it."""
    tried: list[int] = []

    class Counted(pydantic.BaseModel):
        number: int

        @pydantic.field_validator("number")
        @classmethod
        def _count(cls, number: int) -> int:
            tried.append(number)
            return number

    assert why_not_type(Counted) is None
    before = len(tried)
    assert 0 < before < 20
    for type_ in (Counted, list[Counted], dict[str, Counted]):
        MSGPACK.decoder(type_)
    assert len(tried) == before


SCALARS = [int, bool, str, float, dt.date, uuid.UUID, Decimal, Colour, Paid, Refunded, Cat]
KEYS = [str, int, dt.date, uuid.UUID, Level, Colour, bool]
FIELDS = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.one_of(
        inner.map(lambda one: list[one]),
        inner.map(lambda one: one | None),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
        st.tuples(inner, inner).map(lambda pair: tuple[pair[0], pair[1]]),
        st.tuples(st.sampled_from(KEYS), inner).map(lambda pair: dict[pair[0], pair[1]]),
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(type_=FIELDS, data=st.data())
def test_what_is_not_refused_is_read_back(type_, data):
    """For models of any such field: a value that travels arrives equal, of the same classes."""
    model = with_field(type_)
    if why_not_type(model) is not None:
        return
    values = {
        Paid: st.builds(Paid, order=st.integers()),
        Refunded: st.builds(Refunded, order=st.integers()),
        Cat: st.just(Cat(kind="cat")),
    }
    for each, strategy in values.items():
        st.register_type_strategy(each, strategy)
    drawn = data.draw(st.from_type(type_))
    try:
        value: Any = model(f=drawn)
        text = JSON.encoder(model)(value)
    except ValueError:
        return  # no value of the model, or NaN
    assert JSON.decoder(model)(text) == value


@dataclass
class Exits:
    """Its own code ends the process for the values that are tried."""

    text: str

    def __post_init__(self) -> None:
        raise SystemExit(self.text)


def test_a_trial_does_not_end_the_process() -> None:
    """Whatever the code of a class raises, the value is not tried."""
    assert why_not_type(Exits) is None
