"""Two versions of an interface: what differs, and who can live with it. The codecs are the judge."""

from __future__ import annotations

import datetime as dt
import enum
import time
import uuid
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, ForwardRef, Literal, NamedTuple, NotRequired, TypedDict, Union

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore import Code, Component, Service, component, get, idempotency_key, idempotent, post, raises, service
from meshcore.codec.codec import JSON, MSGPACK
from meshcore.codec.errors import EncodeError
from meshcore.contract.changes import compare, compare_services
from meshcore.contract.contract import contract_of
from meshcore.contract.digest import digest_of
from meshcore.contract.reader import component_contract, service_contract
from meshcore.contract.type_changes import Difference, TypeComparison
from meshcore.contract.types import TypeReader
from meshcore.declare.reader import describe, describe_component
from meshcore.wire.rest_parameters import TextParameter

# --- types: what one side writes the other reads, unless it is said to break ------------------------------------------


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


def _at_least(low: int) -> Any:
    return Annotated[int, msgspec.Meta(ge=low)]


def _at_most(length: int) -> Any:
    return Annotated[str, msgspec.Meta(max_length=length)]


def _above(low: int) -> Any:
    return Annotated[int, msgspec.Meta(gt=low, le=low + 100)]


SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers(-(2**63), 2**63 - 1)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    (bool, st.booleans()),
    (bytes, st.binary(max_size=3)),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (uuid.UUID, st.uuids()),
    (dt.datetime, st.datetimes(timezones=st.just(dt.UTC))),
    (dt.date, st.dates()),
    (dt.time, st.times()),
    (dt.timedelta, st.timedeltas(dt.timedelta(-999), dt.timedelta(999))),
    (Size, st.sampled_from(Size)),
    (Level, st.sampled_from(Level)),
    (Literal["s"], st.just("s")),
    (Literal["s", "l", "m"], st.sampled_from(["s", "l", "m"])),
    (Literal[1, 3], st.sampled_from([1, 3])),
    (_at_least(0), st.integers(0, 9)),
    (_at_least(5), st.integers(5, 9)),
    (_above(4), st.integers(5, 104)),
    (_above(3), st.integers(4, 103)),
    (_at_most(2), st.text("ab", max_size=2)),
    (_at_most(3), st.text("ab", max_size=3)),
]
PLAIN = (int, float, str, bytes, Decimal, uuid.UUID, dt.datetime, dt.date, dt.time, dt.timedelta, enum.Enum)
Typed = tuple[Any, st.SearchStrategy[Any]]


def structs(inner: st.SearchStrategy[Typed], **options: Any) -> st.SearchStrategy[Typed]:
    """Structs with some of the fields a, b, c, which may have defaults."""

    @st.composite
    def build(draw: Callable[..., Any]) -> Typed:
        fields: list[Any] = []
        values: dict[str, st.SearchStrategy[Any]] = {}
        for name in draw(st.lists(st.sampled_from("abc"), unique=True)):
            type_, strategy = draw(inner)
            values[name] = strategy
            if draw(st.booleans()):
                default = draw(st.none() | strategy)
                default = default if isinstance(default, PLAIN) else None  # others would need a factory
                fields.append((name, type_ | None, default))
                values[name] = strategy | st.sampled_from([None, default])
            else:
                fields.append((name, type_))
        required = [each for each in fields if len(each) == 2]
        optional = [each for each in fields if len(each) == 3]
        cls = msgspec.defstruct("S", [*required, *optional], **options)
        names = cls.__struct_fields__
        return cls, st.builds(cls, *(values[name] for name in names))

    return build()


def types() -> st.SearchStrategy[Typed]:
    """Types, each with a strategy for its values."""

    def deeper(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
        return st.one_of(
            inner.map(lambda each: (list[each[0]], st.lists(each[1], max_size=2))),
            inner.map(lambda each: (dict[str, each[0]], st.dictionaries(st.text("xy"), each[1], max_size=2))),
            st.lists(inner, min_size=1, max_size=2).map(
                lambda each: (tuple[tuple(one for one, _ in each)], st.tuples(*(values for _, values in each)))
            ),
            structs(inner),
            structs(inner, forbid_unknown_fields=True),
            structs(inner, array_like=True),
            structs(inner, omit_defaults=True),
        )

    found = st.recursive(st.sampled_from(SCALARS), deeper, max_leaves=4)
    return found | found.map(lambda each: (each[0] | None, each[1] | st.none()))


def differences(old: Any, new: Any, *, sent: bool) -> list[Difference]:
    """What differs between two types."""
    before, after = TypeReader([old]), TypeReader([new])
    comparison = TypeComparison(before.types, after.types, sent=sent)
    comparison.types(before.next(), after.next(), "it")
    return comparison.found


def check(old: Typed, new: Typed, value: Any, *, sent: bool) -> list[Any]:
    """What nobody calls breaking is read by the other side, in both formats; what it reads."""
    (written, _), (read, _) = (old, new) if sent else (new, old)
    if any(each.breaking for each in differences(old[0], new[0], sent=sent)):
        return []
    return [codec.decoder(read)(codec.encoder(written)(value)) for codec in (JSON, MSGPACK)]


class Nothing(msgspec.Struct):
    """Written as an object."""


class NoItems(msgspec.Struct, array_like=True):
    """Written as an array."""


@given(data=st.data(), old=types(), new=types(), sent=st.booleans())
def test_what_is_compatible_is_read(*, data: st.DataObject, old: Typed, new: Typed, sent: bool) -> None:
    """Whatever the two types are: the comparison may be too careful, but it never promises what codecs do not keep."""
    check(old, new, data.draw((old if sent else new)[1]), sent=sent)


@pytest.mark.parametrize("sent", [True, False])
def test_an_object_is_no_array(*, sent: bool) -> None:
    """Also not if it has no fields, nor as a member of a union."""
    assert any(each.breaking for each in differences(NoItems | None, Nothing, sent=sent))
    assert any(each.breaking for each in differences(Nothing, NoItems | None, sent=sent))


@cache
def readable() -> list[tuple[Typed, Typed]]:
    """The pairs of scalars that are compatible. Every worker process collects this test, and one runs it."""
    return [
        (one, other)
        for one in SCALARS
        for other in SCALARS
        if one is not other and not any(each.breaking for each in differences(one[0], other[0], sent=True))
    ]


@given(st.data(), st.deferred(lambda: st.sampled_from(readable())))
def test_what_is_compatible_is_read_for_scalars(data: st.DataObject, pair: tuple[Typed, Typed]) -> None:
    """The same, for pairs of scalars, of which few are compatible."""
    check(*pair, data.draw(pair[0][1]), sent=True)


@pytest.mark.parametrize("omit_defaults", [True, False])
@given(data=st.data(), sent=st.booleans())
def test_what_is_compatible_is_read_for_structs(*, data: st.DataObject, omit_defaults: bool, sent: bool) -> None:
    """The same, for structs that differ in few fields: and what is left out is read as what was meant."""
    kinds = structs(st.sampled_from([SCALARS[0], SCALARS[2]]), omit_defaults=omit_defaults)
    old, new = data.draw(kinds), data.draw(kinds)
    value = data.draw((old if sent else new)[1])
    for got in check(old, new, value, sent=sent):
        shared = [name for name in got.__struct_fields__ if name in value.__struct_fields__]
        assert [getattr(got, name) for name in shared] == [getattr(value, name) for name in shared]


@given(type_=types(), sent=st.booleans())
def test_a_type_does_not_differ_from_itself(*, type_: Typed, sent: bool) -> None:
    """No change is found where there is none."""
    assert differences(type_[0], type_[0], sent=sent) == []


def taking(type_: Any) -> type:
    """A service that takes a value of the type."""

    @service("it")
    class It(Service):
        @abstractmethod
        async def go(self, value: Any) -> None: ...

    It.go.__annotations__["value"] = type_
    return It


@given(types(), types())
def test_what_is_noticed_is_in_the_digest(old: Typed, new: Typed) -> None:
    """Services with the same digest do not differ; and a difference, in either direction, is another digest."""
    before, after = (service_contract(describe(taking(each[0]))) for each in (old, new))
    assert (before.digest == after.digest) == (compare_services("c", before, after) == [])


def _field(type_: Any, **limits: Any) -> Any:
    return Annotated[type_, pydantic.Field(**limits)]


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-9, max_value=9)
AWARE = st.datetimes(timezones=st.just(dt.UTC))
MODELS_OWN: list[Typed] = [
    (Decimal, DECIMALS),
    (_field(Decimal, gt=0), DECIMALS.filter(lambda each: each > 0)),
    (_field(Decimal, ge=0, decimal_places=2), DECIMALS.map(abs)),
    (_field(Decimal, max_digits=1), st.integers(-9, 9).map(Decimal)),
    (float | str, st.floats(-9, 9) | st.text("ab1", max_size=2)),
    (float, st.floats(-9, 9)),
    (str, st.text("ab1", max_size=2)),
    (dict[int, int], st.dictionaries(st.integers(-9, 9), st.integers(-9, 9), max_size=2)),
    (dict[str, int], st.dictionaries(st.text("ab", max_size=2), st.integers(-9, 9), max_size=2)),
    (
        _field(dict[str, int], min_length=1),
        st.dictionaries(st.text("ab", max_size=2), st.integers(-9, 9), min_size=1, max_size=2),
    ),
    (dt.datetime, st.datetimes() | AWARE),
    (pydantic.AwareDatetime, AWARE),
    (pydantic.NaiveDatetime, st.datetimes()),
    (pydantic.PastDatetime, AWARE.filter(lambda each: each.year < 2020)),
    (_field(dt.date, ge=dt.date(2020, 1, 1)), st.dates(dt.date(2020, 1, 1))),
    (_field(dt.date, ge=dt.date(2019, 1, 1)), st.dates(dt.date(2019, 1, 1))),
    (pydantic.AnyUrl, st.just(pydantic.AnyUrl("http://x"))),
]


def modelled(type_: Typed, **field: Any) -> Typed:
    """A model with one field of the type."""
    default = () if field else (...,)
    model = pydantic.create_model("M", a=(type_[0], pydantic.Field(*default, **field)))
    return model, st.builds(model, a=type_[1])


MODELS = [*map(modelled, MODELS_OWN), modelled(MODELS_OWN[6], default="", exclude=True)]


@cache
def readable_models() -> list[tuple[Typed, Typed, bool]]:
    """The pairs of models that are compatible."""
    return [
        (one, other, sent)
        for one in MODELS
        for other in MODELS
        for sent in (True, False)
        if not any(each.breaking for each in differences(one[0], other[0], sent=sent))
    ]


@given(st.data(), st.deferred(lambda: st.sampled_from(readable_models())))
def test_what_is_compatible_is_read_for_models(data: st.DataObject, case: tuple[Typed, Typed, bool]) -> None:
    """The same, for what only models have: bounds of decimals and times, types of keys, fields that are not written."""
    old, new, sent = case
    assert check(old, new, data.draw((old if sent else new)[1]), sent=sent)


@st.composite
def owners(draw: Callable[..., Any], *, tagged: bool) -> Typed:
    """A pydantic model with a union of others, in any order."""
    members: list[Any] = []
    values: list[st.SearchStrategy[Any]] = []
    for name in draw(st.lists(st.sampled_from(["cat", "dog", "cow"]), min_size=1, max_size=3, unique=True)):
        # Without a tag, a field of its own tells a member: a look-alike cannot travel.
        fields: dict[str, Any] = {"kind": (Literal[name], name)} if tagged else {name: (int, ...)}
        some: dict[str, st.SearchStrategy[Any]] = {} if tagged else {name: st.integers(-9, 9)}
        for field in draw(st.lists(st.sampled_from("abc"), max_size=2, unique=True)):
            type_, some[field] = draw(st.sampled_from(SCALARS[:4]))
            fields[field] = (type_, ...)
        model = pydantic.create_model(name, **fields)
        members.append(model)
        values.append(st.builds(model, **some))
    several = tagged and len(members) > 1
    union = Annotated[Union[tuple(members)], pydantic.Field(discriminator="kind" if several else None)]  # noqa: UP007
    owner = pydantic.create_model("Owner", pet=(union, ...))
    return owner, st.builds(owner, pet=st.one_of(values))


@pytest.mark.parametrize("tagged", [True, False])
@settings(max_examples=30)  # making models takes its time
@given(data=st.data(), sent=st.booleans())
def test_what_is_compatible_is_read_for_unions_of_models(*, data: st.DataObject, tagged: bool, sent: bool) -> None:
    """The same, for unions whose members have a tag, and for those of which pydantic takes the best match."""
    old, new = data.draw(owners(tagged=tagged)), data.draw(owners(tagged=tagged))
    check(old, new, data.draw((old if sent else new)[1]), sent=sent)
    assert differences(old[0], old[0], sent=sent) == []


def test_models_that_have_each_other_as_parts_are_compared_once() -> None:
    """Each member of a union without a tag is compared with all, and each has all of them as parts."""
    names = [f"part{number}" for number in range(8)]
    members = Union[tuple(ForwardRef(name) for name in names)]  # noqa: UP007
    models: dict[str, Any] = {
        name: pydantic.create_model(name, **{"parts": (list[members], ...), name: (int, ...)}) for name in names
    }
    for model in models.values():
        model.model_rebuild(_types_namespace=models)
    began = time.monotonic()
    assert differences(models["part0"], models["part0"], sent=True) == []
    assert time.monotonic() - began < 5  # it was 26 s, and ten times as long for each further model


@pytest.mark.parametrize(
    ("old", "new", "sent", "received"),
    [
        (Decimal, _field(Decimal, gt=0), "! it.a is now decimal (gt=0), was decimal", None),
        (
            _field(Decimal, max_digits=3),
            _field(Decimal, max_digits=2),
            "! it.a is now decimal (max_digits=2), was",
            None,
        ),
        (
            Decimal,
            float | str,
            "it.a is now read as float | str, was decimal",
            "it.a may now be float; ! it.a may now be str",
        ),
        (dict[int, int], dict[str, int], "! it.a{key} is now str, was int", "! it.a{key} is now str, was int"),
        (
            dt.datetime,
            pydantic.AwareDatetime,
            "! it.a is now datetime (tz=True), was datetime",
            "it.a is now datetime (tz=True), was datetime",
        ),
        (dt.date, pydantic.PastDate, "! it.a is now date (relation='past'), was date", None),
        (str, pydantic.AnyUrl, "! it.a is now str (min_length=1, format='uri'), was str", None),
        (str, pydantic.SecretStr, "", ""),
        (
            dict[str, int],
            _field(dict[str, int], min_length=1),
            "! it.a is now map[str, int] (min_length=1), was map[str, int]",
            None,
        ),
        (str, _field(str, exclude=True), "it.a may be left out now", "! it.a may be left out now, and callers need it"),
    ],
)
def test_what_only_models_have(old: Any, new: Any, sent: str, received: str | None) -> None:
    """What pydantic's own schema does not tell is seen."""
    before, after = (pydantic.create_model("M", a=(each, ...)) for each in (old, new))
    assert "; ".join(marked(differences(before, after, sent=True))).startswith(sent)
    assert bool(sent) == bool(differences(before, after, sent=True))
    if received is not None:
        assert "; ".join(marked(differences(before, after, sent=False))).startswith(received)


class Pets:
    """Members of unions."""

    class Cat(pydantic.BaseModel):
        kind: Literal["cat"] = "cat"
        lives: int = 9

    class Dog(pydantic.BaseModel):
        kind: Literal["dog", "puppy"] = "dog"
        tricks: int = 1

    class Cow(pydantic.BaseModel):
        kind: Literal["cow"] = "cow"
        milk: int = 1

    class Tall(pydantic.BaseModel):
        height: int

    class Wide(pydantic.BaseModel):
        width: int

    class Wider(pydantic.BaseModel):
        width: int
        depth: int = 0


@pytest.mark.parametrize(
    ("old", "new", "sent", "received"),
    [
        (Pets.Cat | Pets.Dog, Pets.Dog | Pets.Cat, [], []),
        (
            Pets.Cat | Pets.Dog,
            Pets.Dog | Pets.Cow | Pets.Cat,
            ["it.pet may be Cow too"],
            ["! it.pet may now be Cow, which callers do not expect"],
        ),
        (
            Pets.Cow | Pets.Cat | Pets.Dog,
            Pets.Cat | Pets.Dog,
            ["! it.pet is no longer Cow"],
            ["it.pet is never Cow any more"],
        ),
        (Pets.Tall | Pets.Wide, Pets.Wide | Pets.Tall, [], []),
        (
            Pets.Tall | Pets.Wide,
            Pets.Tall | Pets.Wider,
            ["! it.pet is no longer Wide", "it.pet may be Wider too"],
            ["! it.pet may now be Wider, which callers do not expect", "it.pet is never Wide any more"],
        ),
        (list[int] | list[str], list[str] | list[int], [], []),
        (
            list[int] | list[str],
            list[str] | list[Pets.Cat],
            ["! it.pet is no longer list[int]", "it.pet may be list[Cat] too"],
            ["! it.pet may now be list[Cat], which callers do not expect", "it.pet is never list[int] any more"],
        ),
    ],
)
def test_members_of_a_union_of_models(old: Any, new: Any, sent: list[str], received: list[str]) -> None:
    """They are known by a tag that all of them have, else by all that they are, and never by their place."""
    before, after = (pydantic.create_model("Owner", pet=(each, ...)) for each in (old, new))
    assert marked(differences(before, after, sent=True)) == sent
    assert marked(differences(before, after, sent=False)) == received
    same = service_contract(describe(taking(before))).digest == service_contract(describe(taking(after))).digest
    assert same == (sent == [])


class Old:
    """The types of the old version; each has a counterpart of the same name in `New`."""

    @dataclass
    class Item:
        sku: str
        price: int = 0
        parts: tuple[Old.Item, ...] = ()

    class Colour(enum.Enum):
        RED = "red"
        BLUE = "blue"

    class Point(NamedTuple):
        x: int
        y: int

    class Options(TypedDict):
        depth: int

    Shape = msgspec.defstruct("Shape", [("a", int)], tag="shape")
    Sparse = msgspec.defstruct("Sparse", [("retries", int, 1)], omit_defaults=True)


class New:
    @dataclass
    class Item:
        sku: str
        price: float = 0
        note: str = ""
        parts: tuple[New.Item, ...] = ()

    class Colour(enum.Enum):
        RED = "red"
        GREEN = "green"

    class Point(NamedTuple):
        y: int
        x: int

    class Options(TypedDict):
        depth: NotRequired[int]

    Shape = msgspec.defstruct("Shape", [("a", int)], tag="form")
    Sparse = msgspec.defstruct("Sparse", [("retries", int, 5)], omit_defaults=True)
    Full = msgspec.defstruct("Full", [("retries", int, 5)])


@pytest.mark.parametrize(
    ("old", "new", "sent", "received"),
    [
        (int, str, ["! it is now str, was int"], ["! it is now str, was int"]),
        (int, float, ["it is now float, was int"], ["! it is now float, was int"]),
        (float, int, ["! it is now int, was float"], ["it is now int, was float"]),
        (str, Any, ["it is now any, was str"], ["! it is now any, was str"]),
        (str, str | None, ["it may be None too"], ["! it may now be None, which callers do not expect"]),
        (int | None, int, ["! it is no longer None"], ["it is never None any more"]),
        (int | None, int | str, ["! it is no longer None", "it may be str too"], None),
        (list[int], set[int], ["it is now set[int], was list[int]"], ["it is now set[int], was list[int]"]),
        (tuple[int, int], tuple[int], ["! it has 1 items now, had 2"], ["! it has 1 items now, had 2"]),
        (dict[str, int], dict[str, str], ["! it{} is now str, was int"], ["! it{} is now str, was int"]),
        (int, _at_least(1), ["! it is now int (ge=1), was int"], ["it is now int (ge=1), was int"]),
        (_at_least(1), _at_least(0), ["it is now int (ge=0), was int (ge=1)"], None),
        (
            Old.Colour,
            New.Colour,
            ["! it: 'blue' is no longer taken", "it: 'green' is taken too"],
            ["it: 'blue' does not come any more", "! it: 'green' may come now, which callers do not know"],
        ),
        (
            list[Old.Item],
            list[New.Item],
            ["it[].price is now float, was int", "it[].note is new and optional"],
            ["! it[].price is now float, was int", "it[].note is new"],
        ),
        (
            New.Item,
            Old.Item,
            ["! it.price is now int, was float", "! it.note is gone: what callers put there is lost"],
            ["it.price is now int, was float", "it.note is gone, and callers take its default"],
        ),
        (Old.Point, New.Point, ["! it has its items in another order: y, x; was x, y"], None),
        (
            Old.Options,
            New.Options,
            ["it.depth is now optional"],
            ["! it.depth may be left out now, and callers need it"],
        ),
        (Old.Shape, New.Shape, ["! it has the tag type='form' now, had type='shape'"], None),
        (
            Old.Sparse,
            New.Sparse,
            ["! it.retries: default is now 5, was 1, and writers leave it out"],
            ["! it.retries: default is now 5, was 1, and writers leave it out"],
        ),
        (
            Old.Sparse,
            New.Full,
            [
                "it.retries is always written now",
                "! it.retries: default is now 5, was 1, and writers leave it out",
            ],
            ["it.retries is always written now", "it.retries: default is now 5, was 1"],
        ),
        (Old.Point, Old.Options, ["! it is written as an object now"], ["! it is written as an object now"]),
    ],
)
def test_differences_in_words(old: Any, new: Any, sent: list[str], received: list[str] | None) -> None:
    """Each difference is one sentence with its place; the same may be fine one way and breaking (!) the other."""
    assert marked(differences(old, new, sent=True)) == sent
    if received is not None:
        assert marked(differences(old, new, sent=False)) == received


def marked(found: list[Any]) -> list[str]:
    """Differences or changes as text, breaking ones with an exclamation mark."""
    return [("! " if each.breaking else "") + getattr(each, "text", "") for each in found]


# --- methods ----------------------------------------------------------------------------------------------------------


class Sold(Exception):
    def __init__(self, sku: str) -> None:
        super().__init__(sku)
        self.sku = sku


class Gone(Exception):
    code = Code.NOT_FOUND


def sold(**more: Any) -> type[Exception]:
    """Another version of `Sold`."""

    def init(self: Any, sku: str, left: int) -> None:
        self.sku, self.left = sku, left

    return type("Sold", (Exception,), {"__init__": init, **more})


class Place:
    """Versions of a method."""

    async def base(self: Any, sku: str, count: int = 1) -> str: ...
    async def renamed(self: Any, article: str, count: int = 1) -> str: ...
    async def reordered(self: Any, count: int, sku: str) -> str: ...
    async def swapped(self: Any, sku: str, count: int) -> str: ...
    async def shorter(self: Any, sku: str) -> str: ...
    async def longer(self: Any, sku: str, count: int = 1, note: str = "") -> str: ...
    async def demanding(self: Any, sku: str, count: int, priority: int) -> str: ...
    async def between(self: Any, sku: str, note: str = "", count: int = 1) -> str: ...
    async def named(self: Any, sku: str, *, count: int = 1) -> str: ...
    async def other_default(self: Any, sku: str, count: int = 2) -> str: ...
    async def nothing(self: Any, sku: str, count: int = 1) -> None: ...


def offering(**functions: Any) -> Any:
    """The contract of a component whose service has these methods."""
    members = {name: abstractmethod(function) for name, function in functions.items()}
    cls = service("orders")(type("Orders", (Service,), members))

    @component("shop", services=[cls])
    class Shop(Component): ...

    problems: list[str] = []
    found = contract_of([component_contract(describe_component(Shop, problems))])
    assert not problems
    return found


def fresh(function: Any, *marks: Any) -> Any:
    """A copy of a function, with marks of its own."""
    copy = type(function)(function.__code__, globals(), "place", function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = dict(function.__annotations__)
    for mark in marks:
        copy = mark(copy)
    return copy


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Place.base, Place.base, []),
        (Place.base, Place.renamed, ["! parameter 1 'sku' is now called 'article'"]),
        (
            Place.base,
            Place.reordered,
            ["! parameter 2 'count' is now required", "! parameters are in another order: count, sku; was sku, count"],
        ),
        (Place.base, Place.swapped, ["! parameter 2 'count' is now required"]),
        (Place.swapped, Place.base, ["parameter 2 'count' is now optional"]),
        (Place.base, Place.shorter, ["! parameter 2 'count' is gone"]),
        (Place.shorter, Place.base, ["parameter 2 'count' is new and optional"]),
        (Place.base, Place.longer, ["parameter 3 'note' is new and optional"]),
        (Place.swapped, Place.demanding, ["! parameter 3 'priority' is new and required"]),
        (Place.base, Place.between, ["! parameter 2 'note' is new and not last, so those after it have moved"]),
        (Place.base, Place.named, ["! parameter 2 'count' is given by name only now"]),
        (Place.named, Place.base, ["parameter 2 'count' is given by position or name now"]),
        (Place.base, Place.other_default, ["parameter 2 'count': default is now 2, was 1"]),
        (Place.base, Place.nothing, ["! result is now None, was str"]),
    ],
)
def test_changes_of_a_method(old: Any, new: Any, expected: list[str]) -> None:
    """Parameters by name and position, and results."""
    assert marked(compare(offering(place=fresh(old)), offering(place=fresh(new)))) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([], [raises(Sold)], ["may raise Sold now; callers that do not know it get a RemoteError"]),
        ([raises(Sold)], [], ["Sold is not declared any more"]),
        (
            [raises(Sold)],
            [raises(Gone)],
            [
                "! Sold is not declared any more; callers may get Gone in its place",
                "may raise Gone now; callers that do not know it get a RemoteError",
            ],
        ),
        ([raises(Sold)], [raises(sold())], ["Sold.left is new"]),
        ([raises(sold())], [raises(Sold)], ["! Sold.left is gone, and callers need it"]),
        (
            [raises(Sold)],
            [raises(sold(code=Code.NOT_FOUND))],
            ["Sold has the code not_found now, had failed_precondition", "Sold.left is new"],
        ),
        ([], [post("/orders")], ["REST reaches it now: POST /orders"]),
        ([post("/orders")], [], ["! REST does not reach it any more, was POST /orders"]),
        ([post("/orders")], [post("/order")], ["! REST reaches it as POST /order now, was POST /orders"]),
        (
            [get("/{sku}")],
            [get("/x/{count}")],
            [
                "! parameter 1 'sku' is in the query of a REST request now, was in the path",
                "! parameter 2 'count' is in the path of a REST request now, was in the query",
                "! REST reaches it as GET /x/{count} now, was GET /{sku}",
            ],
        ),
        (
            [get("/{sku}/{count}")],
            [get("/{count}/{sku}")],
            ["! REST reaches it as GET /{count}/{sku} now, was GET /{sku}/{count}"],
        ),
        ([post("/orders")], [post("/orders", status=202)], ["! REST answers with 202 now, was 200"]),
        ([], [idempotent], ["may be repeated freely, before it must not be repeated"]),
        ([idempotent], [], ["! must not be repeated, before it may be repeated freely"]),
        ([idempotent], [idempotency_key()], ["! may be repeated with a key, before it may be repeated freely"]),
        ([idempotency_key()], [idempotent], ["may be repeated freely, before it may be repeated with a key"]),
    ],
)
def test_changes_of_what_is_declared(old: list[Any], new: list[Any], expected: list[str]) -> None:
    """Exceptions, HTTP mappings, and what callers may rely on when they repeat."""
    assert marked(compare(offering(place=fresh(Place.base, *old)), offering(place=fresh(Place.base, *new)))) == expected


class Find:
    """Versions of a method that takes from a query what may be nothing."""

    async def required(self: Any, it: int | None) -> None: ...
    async def none(self: Any, it: int | None = None) -> None: ...
    async def ten(self: Any, it: int | None = 10) -> None: ...
    async def number(self: Any, it: int = 10) -> None: ...
    async def items(self: Any, it: list[int]) -> None: ...
    async def no_items(self: Any, it: list[int] = []) -> None: ...  # noqa: B006
    async def some_items(self: Any, it: list[int] = [1, 2]) -> None: ...  # noqa: B006
    async def at_least_one(self: Any, it: Annotated[list[int], msgspec.Meta(min_length=1)]) -> None: ...
    async def either(self: Any, it: list[int] | None) -> None: ...
    async def rather_none(self: Any, it: list[int] | None = None) -> None: ...


FINDING = [each for name, each in vars(Find).items() if not name.startswith("_")]


@pytest.mark.parametrize("old", FINDING)
@pytest.mark.parametrize("new", FINDING)
def test_what_a_request_leaves_out_goes_on_to_mean_the_same(old: Any, new: Any) -> None:
    """None and an empty list are said by leaving the name out: what REST reads and writes is the judge."""
    before, after = (offering(find=fresh(each, get("/find"))) for each in (old, new))
    if any(each.breaking for each in compare(before, after)):
        return
    (writer, type_), (reader, _) = (parameter_of(each) for each in (old, new))
    for value in (None, [], 5, [5]):
        try:
            texts = writer.write(msgspec.convert(value, type_))
        except (msgspec.ValidationError, EncodeError):  # no caller could say it
            continue
        assert reader.read(texts or None) == value


def parameter_of(function: Any) -> tuple[TextParameter, Any]:
    """How a parameter travels over REST, and its type."""

    @service("it")
    class It(Service):
        find = abstractmethod(fresh(function, get("/find")))

    (method,) = describe(It).methods
    return TextParameter(method, method.parameters[0]), method.parameters[0].type


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Find.required, Find.none, ["parameter 1 'it' is now optional"]),
        (
            Find.required,
            Find.ten,
            [
                "parameter 1 'it' is now optional",
                "! parameter 1 'it' means 10 now if a REST request leaves it out, as it does for None",
            ],
        ),
        (Find.items, Find.no_items, ["parameter 1 'it' is now optional"]),
        (
            Find.no_items,
            Find.some_items,
            [
                "parameter 1 'it': default is now [1, 2], was []",
                "! parameter 1 'it' means [1, 2] now if a REST request leaves it out, as it does for []",
            ],
        ),
    ],
)
def test_changes_of_what_is_left_out(old: Any, new: Any, expected: list[str]) -> None:
    """What was said by saying nothing, and nothing is said now."""
    before, after = (offering(find=fresh(each, get("/find"))) for each in (old, new))
    assert marked(compare(before, after)) == expected
    plain = (offering(find=fresh(each)) for each in (old, new))
    assert not any(each.breaking for each in compare(*plain))


def test_the_name_of_a_place_in_a_path_does_not_count() -> None:
    """Only that of the parameter does: a request says what stands there, and not how it is called."""
    old = offering(place=fresh(Place.base, get("/{sku}")))
    new = offering(place=fresh(Place.renamed, get("/{article}")))
    assert marked(compare(old, new)) == [
        "! parameter 1 'sku' is now called 'article'",
        "REST reaches it as GET /{article} now, was GET /{sku}",
    ]


def test_methods_services_and_components_come_and_go() -> None:
    """What is new is fine, what is gone is not, and each says where."""
    old, new = (
        offering(place=fresh(Place.base), find=fresh(Place.shorter)),
        offering(place=fresh(Place.base), get=fresh(Place.shorter)),
    )
    assert [str(each) for each in compare(old, new)] == ["orders.find: is gone", "orders.get: is new"]
    assert [each.breaking for each in compare(old, new)] == [True, False]
    assert [(str(each), each.breaking) for each in compare(contract_of([]), new)] == [("component shop: is new", False)]
    assert [(str(each), each.breaking) for each in compare(old, contract_of([]))] == [("component shop: is gone", True)]
    (shop,) = old.components
    empty = contract_of([msgspec.structs.replace(shop, services=())])
    assert [(str(each), each.breaking) for each in compare(empty, old)] == [("orders: is new", False)]
    assert [(str(each), each.breaking) for each in compare(old, empty)] == [("orders: is gone", True)]


FUNCTIONS = [
    Place.base,
    Place.renamed,
    Place.reordered,
    Place.swapped,
    Place.shorter,
    Place.longer,
    Place.demanding,
    Place.between,
    Place.named,
    Place.other_default,
    Place.nothing,
]
MARKS = [
    raises(Sold),
    raises(Gone),
    post("/{sku}"),
    post("/{sku}", status=201),
    get("/{sku}"),
    idempotent,
    idempotency_key(),
]


@given(*[st.tuples(st.sampled_from(FUNCTIONS), st.sampled_from([None, *MARKS])) for _ in range(2)])
def test_changes_and_digests_agree(old: Any, new: Any) -> None:
    """Two versions have the same digest exactly if nothing differs between them; and going back is as visible."""

    def built(function: Any, mark: Any) -> Any:
        marks = [mark] if mark is not None and "sku" in function.__annotations__ else []
        return offering(place=fresh(function, *marks))

    before, after = built(*old), built(*new)
    same = before.components[0].digest == after.components[0].digest
    assert same == (compare(before, after) == []) == (compare(after, before) == [])
    service_ = before.components[0].services[0]
    assert digest_of(service_) == service_.digest


# --- streams ----------------------------------------------------------------------------------------------------------


class Whole:
    @abstractmethod
    async def run(self, items: list[int]) -> list[str]: ...


class Streaming:
    @abstractmethod
    def run(self, items: AsyncIterator[int]) -> AsyncIterator[str]: ...


class StreamingMore:
    @abstractmethod
    def run(self, items: AsyncIterator[int | None]) -> AsyncIterator[str | None]: ...


class StreamingWithFor:
    @abstractmethod
    def run(self, items: Iterator[int]) -> Iterator[str]: ...


def test_a_stream_is_no_list() -> None:
    """Neither can be read as the other; the items are compared as other types are."""
    whole, streaming, more = (
        service_contract(describe(service("shop")(type(cls.__name__, (cls, Service), {}))))
        for cls in (Whole, Streaming, StreamingMore)
    )
    texts = [
        "parameter 1 'items' is now stream[int], was list[int]",
        "result is now stream[str], was list[str]",
    ]
    assert [(each.text, each.breaking) for each in compare_services("c", whole, streaming)] == [
        (text, True) for text in texts
    ]
    assert [(each.text, each.breaking) for each in compare_services("c", streaming, more)] == [
        ("parameter 1 'items'[] may be None too", False),
        ("result[] may now be None, which callers do not expect", True),
    ]
    assert len({whole.digest, streaming.digest, more.digest}) == 3


def test_a_caller_cannot_notice_whether_a_stream_is_read_with_for_or_async_for() -> None:
    """So both have one digest."""
    one, other = (
        service_contract(describe(service("shop")(type("Shop", (cls, Service), {}))))
        for cls in (Streaming, StreamingWithFor)
    )
    assert one.digest == other.digest
