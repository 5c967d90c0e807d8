"""The codec: what travels comes back equal, what cannot travel says why, and no body does harm."""

import contextlib
import datetime as dt
import enum
import math
import socket
import subprocess
import sys
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore.codec.codec import JSON, MSGPACK, Codec, Limits
from meshcore.codec.errors import DecodeError, EncodeError, TravelError
from meshcore.codec.text import from_text, to_text
from meshcore.codec.wire_types import shape_of, why_not_type

CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Item:
    name: str
    price: float


@dataclass
class Order:
    id: int
    items: list[Item]
    note: str | None = None


@dataclass
class Tree:
    value: float
    children: "list[Tree]" = field(default_factory=list)


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    tricks: list[str] = []


class Renamed(msgspec.Struct, rename="camel"):
    unit_price: float


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Options(TypedDict, total=False):
    verbose: bool
    level: Level


@dataclass
class Box(Generic[T]):
    content: T


class Line(pydantic.BaseModel):
    amount: int
    unit_price: Decimal = pydantic.Field(alias="unitPrice")


class Invoice(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    number: str
    at: dt.datetime
    lines: list[Line] = []
    ratio: float | None = None
    secret: str = pydantic.Field(default="", exclude=True)

    @pydantic.field_validator("number")
    @classmethod
    def _not_empty(cls, number: str) -> str:
        if not number:
            raise ValueError("a number is needed")
        return number


@dataclass
class Envelope:
    invoice: Invoice
    others: list[Invoice]
    maybe: Line | None = None


UserId = NewType("UserId", int)

# --- generated types and values ---------------------------------------------------------------------------------------

Typed = tuple[Any, st.SearchStrategy[Any]]
AMSTERDAM = dt.timezone(dt.timedelta(minutes=19, seconds=32))  # until 1937
ZONES = st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=30)), AMSTERDAM, None])
WHEN = {"min_value": dt.datetime(1900, 1, 1), "max_value": dt.datetime(2200, 1, 1)}  # noqa: DTZ001 - bounds are naive
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=12)
HASHABLE: list[Typed] = [
    (int, st.integers(-(2**63), 2**64 - 1)),
    (float, FLOATS),
    (str, TEXTS),
    (bytes, st.binary(max_size=12)),
    (dt.datetime, st.datetimes(**WHEN, timezones=ZONES)),
    (dt.date, st.dates()),
    (dt.time, st.times()),
    (dt.timedelta, st.timedeltas()),
    (uuid.UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Right, st.sampled_from([Right.READ, Right.WRITE, Right.READ | Right.WRITE])),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (UserId, st.integers(0, 99)),
    (Annotated[int, msgspec.Meta(gt=0)], st.integers(1, 9)),
]
UNHASHABLE: list[Typed] = [
    (bool, st.booleans()),
    (None, st.none()),
    (Any, st.recursive(st.none() | TEXTS | FLOATS | st.integers(-9, 9), st.lists, max_leaves=5)),
    (int | str, st.integers(-9, 9) | TEXTS),
    (Decimal | int, st.decimals(allow_nan=False) | st.integers(-9, 9)),
    (Cat | Dog | None, st.builds(Cat, st.integers(0, 9)) | st.builds(Dog, st.lists(TEXTS)) | st.none()),
    (Options, st.fixed_dictionaries({}, optional={"verbose": st.booleans(), "level": st.sampled_from(Level)})),
    (Point, st.builds(Point, st.integers(-9, 9), FLOATS)),
    (Renamed, st.builds(Renamed, FLOATS)),
    (Tree, st.recursive(st.builds(Tree, FLOATS), lambda inner: st.builds(Tree, FLOATS, st.lists(inner)), max_leaves=5)),
    (
        Line,
        st.builds(lambda amount, price: Line(amount=amount, unitPrice=price), st.integers(0, 9), st.decimals(0, 9)),
    ),
]


def optional(inner: Typed) -> st.SearchStrategy[Typed]:
    """The type, or None."""
    return st.just((inner[0] | None if inner[0] is not None else None, st.none() | inner[1]))


def fields_of(inner: list[Typed], make: Callable[[list[tuple[str, Any]]], Any]) -> Typed:
    """A new class with these fields."""
    class_ = make([(f"f{index}", type_) for index, (type_, _) in enumerate(inner)])
    return class_, st.tuples(*(values for _, values in inner)).map(lambda parts: class_(*parts))


def extend(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Types made of other types."""
    hashable = st.sampled_from(HASHABLE)
    several = st.lists(inner, max_size=4)
    return st.one_of(
        inner.flatmap(optional),
        inner.map(lambda one: (list[one[0]], st.lists(one[1], max_size=3))),
        inner.map(lambda one: (tuple[one[0], ...], st.lists(one[1], max_size=3).map(tuple))),
        several.map(lambda some: (tuple[*[one[0] for one in some]], st.tuples(*(one[1] for one in some)))),
        hashable.map(lambda one: (set[one[0]], st.sets(one[1], max_size=3))),
        hashable.map(lambda one: (frozenset[one[0]], st.frozensets(one[1], max_size=3))),
        st.tuples(hashable, inner).map(
            lambda pair: (dict[pair[0][0], pair[1][0]], st.dictionaries(pair[0][1], pair[1][1], max_size=3))
        ),
        inner.map(lambda one: (Box[one[0]], one[1].map(Box))),
        several.map(lambda some: fields_of(some, lambda names: make_dataclass("Made", names))),
        several.map(lambda some: fields_of(some, lambda names: msgspec.defstruct("MadeStruct", names))),
        several.map(lambda some: fields_of(some, lambda names: msgspec.defstruct("Row", names, array_like=True))),
    )


TYPED = st.recursive(st.sampled_from(HASHABLE + UNHASHABLE), extend, max_leaves=8)
TYPED_VALUES = TYPED.flatmap(lambda typed: st.tuples(st.just(typed[0]), typed[1]))
GENERATED = settings(max_examples=150)
TYPES = [
    Order,
    Tree,
    Any,
    list[int],
    dict[str, Any],
    Envelope,
    Invoice,
    Cat | Dog,
    set[Any],
    Point,
    dict[Decimal, Options],
]


def same(one: object, other: object) -> bool:
    """Equal, and of the same class all through where equality is lax (1 == 1.0 == True)."""
    return one == other and type(one) is type(other)


@CODECS
@GENERATED
@given(case=TYPED_VALUES)
def test_what_is_encoded_decodes_to_an_equal_value(codec: Codec, case):
    """For every type made of what can travel: decode(encode(x)) == x, and it is what the strict encoder accepts."""
    type_, value = case
    assert why_not_type(type_) is None
    data = codec.encoder(type_, validate=True)(value)
    assert same(codec.decoder(type_, unique=True)(data), value)


@CODECS
@GENERATED
@given(type_=st.sampled_from(TYPES) | TYPED.map(lambda typed: typed[0]), data=st.data())
def test_arbitrary_bytes_decode_or_raise_decode_error(codec: Codec, type_, data):
    """Whatever the bytes, a decoder returns a value or raises DecodeError, and nothing else."""
    decode = codec.decoder(type_, unique=data.draw(st.booleans()))
    alphabet = st.text('[]{}":,\\0123.eE+-ntfu \ud7ff', max_size=40).map(str.encode)
    for body in data.draw(st.lists(st.binary(max_size=60) | alphabet, min_size=5, max_size=5)):
        try:
            decode(body)
        except DecodeError as error:
            assert error.reason  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017


@CODECS
@GENERATED
@given(case=TYPED_VALUES, data=st.data())
def test_mutated_messages_decode_or_raise_decode_error(codec: Codec, case, data):
    """A valid message with bytes cut, doubled or replaced is a value or a DecodeError, and nothing else."""
    type_, value = case
    valid, decode = codec.encoder(type_)(value), codec.decoder(type_, unique=data.draw(st.booleans()))
    for _ in range(5):
        start = data.draw(st.integers(0, len(valid)))
        end = data.draw(st.integers(start, min(len(valid), start + 4)))
        middle = data.draw(st.binary(max_size=3) | st.just(valid[start:end] * 2))
        with contextlib.suppress(DecodeError):
            decode(valid[:start] + middle + valid[end:])


HUGE = 1_000_000
BODIES = {
    JSON: [b"[" * HUGE, b'{"a":' * 200_000, b'{"children":[' * 1000, b'"' + b"\\u0000" * 99, b"9" * 5000, b"1e999"],
    MSGPACK: [
        b"\x91" * HUGE,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdc\xff\xff" * 1000,
        b"\x81\xa1b" + b"\x91" * HUGE,
        b"\x81\xa8children\x91" * 5000,
        b"\xc6\xff\xff\xff\xff",
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\x81\x91\x80\x01",
    ],
}


@pytest.mark.long
@pytest.mark.parametrize("type_", TYPES, ids=str)
@CODECS
def test_hostile_bodies_cost_little_memory(codec: Codec, type_):
    """Deep, endless and lying bodies end in DecodeError, and need no more memory than a few times their size."""
    decode = codec.decoder(type_, unique=True)
    for body in BODIES[codec]:
        tracemalloc.start()
        with pytest.raises(DecodeError):
            decode(body)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5 * len(body) + 400_000


# --- decoding: texts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "plain", "text"),
    [
        (int, "x", "$: expected int, got str"),
        (Order, {"id": 1, "items": [{"name": "a", "price": "b"}]}, "$.items[0].price: expected float, got str"),
        (Order, {"id": 1}, "$: object missing required field items"),
        (dict[str, list[int]], {"a": [1.5]}, "$[...][0]: expected int, got float"),
        (dict[int, int], {"a": 1}, "$: key: expected int, got str"),
        (Annotated[int, msgspec.Meta(ge=10)], 1, "$: expected int >= 10"),
        (Colour, "green", "$: invalid enum value 'green'"),
        (tuple[int, int], [1], "$: expected array of length 2"),
        (Cat | Dog, {"type": "Cow"}, "$.type: invalid value 'Cow'"),
        (Invoice, {"number": "", "at": "2026-01-02T03:04:05Z"}, "$.number: value error, a number is needed"),
        (Invoice, {"number": "1"}, "$.at: field required"),
        (
            Envelope,
            {"invoice": {"number": "1", "at": "2026-01-02T03:04:05Z", "lines": [{"amount": 1}]}, "others": []},
            "$.invoice.lines[0].unitPrice: field required",
        ),
        (
            Envelope,
            {"invoice": {"number": 1, "at": 2, "lines": [{}]}, "others": []},
            "$.invoice.number: input should be a valid string (and 3 more)",
        ),
        (list[Line], [{"amount": "many", "unitPrice": 1}], "$[0].amount: input should be a valid integer, unable to"),
    ],
)
@CODECS
def test_a_refused_value_is_named_with_its_place(codec: Codec, type_, plain, text):
    """A wrong value is reported the same way by both codecs: the path, then what was expected."""
    with pytest.raises(DecodeError) as caught:
        codec.decoder(type_)(codec.encoder(Any)(plain))
    assert str(caught.value).startswith(text)
    assert str(caught.value) == f"{caught.value.path}: {caught.value.reason}"


@CODECS
def test_what_a_set_cannot_hold_is_refused(codec: Codec):
    """Where it is, msgspec says from 0.23 on."""
    with pytest.raises(DecodeError, match=r"^\$(\[\d\])?: (unhashable type: |expected a hashable value, got )"):
        codec.decoder(set[Any])(codec.encoder(Any)([[1], {}]))


@pytest.mark.parametrize(
    ("codec", "type_", "body", "text"),
    [
        (JSON, Any, b"", "malformed JSON: input data was truncated"),
        (JSON, Any, b'{"a" 1}', "malformed JSON at byte 5: expected ':'"),
        (JSON, Any, b'"\xff"', "malformed JSON: a text is not UTF-8"),
        (JSON, Line, b'{"amount":', "malformed JSON: EOF while parsing a value at line 1 column 10"),
        (MSGPACK, Any, b"\xc1", "malformed msgpack at byte 0: invalid opcode '\\xc1'"),
        (MSGPACK, Any, b"\xa1\xff", "malformed msgpack: a text is not UTF-8"),
        (MSGPACK, Any, b"\x92\x01", "malformed msgpack: input data was truncated"),
        (MSGPACK, Any, b"\x01\x01", "malformed msgpack at byte 1: trailing characters"),
        (MSGPACK, Any, b"\xd4\x01a", "$: unknown msgpack extension 1"),
    ],
)
def test_a_malformed_body_says_where(codec: Codec, type_, body, text):
    """What is no JSON or msgpack at all is called malformed, with the byte where that is known."""
    with pytest.raises(DecodeError) as caught:
        codec.decoder(type_)(body)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("type_", [Any, Tree, dict[str, Any]], ids=str)
@CODECS
def test_depth_is_limited_exactly(codec: Codec, type_):
    """A value as deep as the limit is decoded, one level more is refused."""
    nested: Any = Tree(0) if type_ is Tree else {}
    while nesting(nested) < 20:
        nested = Tree(0, [nested]) if type_ is Tree else {"a": nested}
    exact = nesting(nested)
    data = codec.encoder(type_)(nested)
    assert codec.decoder(type_, Limits(max_depth=exact))(data) == nested
    with pytest.raises(DecodeError, match=f"^nested deeper than {exact - 1} levels \\(setting max_depth\\)$"):
        codec.decoder(type_, Limits(max_depth=exact - 1))(data)


def nesting(value: Any) -> int:
    """The depth of a tree of one branch."""
    if isinstance(value, Tree):
        return 2 + (nesting(value.children[0]) if value.children else 0)
    return 1 + (nesting(value["a"]) if value else 0)


@CODECS
def test_a_type_of_bounded_depth_accepts_no_deep_surplus(codec: Codec):
    """Where the type bounds the depth, a deep unknown field ends in DecodeError or is skipped, never in a crash."""
    body = {JSON: b'{"b":' + b"[" * HUGE + b"]" * HUGE + b"}", MSGPACK: b"\x81\xa1b" + b"\x91" * HUGE + b"\xc0"}[codec]
    with pytest.raises(DecodeError, match=r"^nested deeper than 128 levels"):
        codec.decoder(make_dataclass("Flat", [("a", int, 0)]))(body)


def test_a_long_reason_is_cut():
    """An error quotes a hostile body only so far, and on one line."""
    with pytest.raises(DecodeError) as caught:
        JSON.decoder(Colour)(b'"' + b"a\\n" * 100_000 + b'"')
    assert len(str(caught.value)) < 320


@CODECS
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("Must be even"), "must be even"),
        (TypeError("Must be a pair"), "must be a pair"),
        (AssertionError("Must be odd"), "must be odd"),
        (KeyError("the secret"), "cannot be read (KeyError)"),
        (AttributeError("'Vault' object has no attribute 'key'"), "cannot be read (AttributeError)"),
        (type("Lost", (Exception,), {})("x" * 10_000), "cannot be read (Lost)"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_an_error_raised_by_the_users_own_class_is_a_decode_error(codec: Codec, error, reason, caplog):
    """A validator's text is meant for the caller; of a mistake in it only the class; the log has the rest."""

    @dataclass
    class Picky:
        x: int

        def __post_init__(self):
            raise error

    class Model(pydantic.BaseModel):
        x: int

        @pydantic.field_validator("x")
        @classmethod
        def check(cls, value: int) -> int:
            raise error

    for type_ in (Picky, Model):
        with pytest.raises(DecodeError) as caught:
            codec.decoder(type_)(codec.encoder(Any)({"x": 1}))
        assert caught.value.reason.removeprefix("value error, ").removeprefix("assertion failed, ").lower() == (
            reason.lower()
        )
        assert caught.value.__cause__ is not None
    assert caplog.text.count("Traceback") == (2 if "cannot be read" in reason else 0)


# --- encoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_it_would_write_as_null(number):
    """NaN and infinity are errors with their place, not a silent null; a genuine None beside them is no error."""
    encode = JSON.encoder(Order)
    assert encode(Order(1, [Item("null", 1.5)])).endswith(b'"note":null}')
    with pytest.raises(EncodeError, match=r"^\$\.items\[1\]\.price: .* does not exist in JSON$"):
        encode(Order(1, [Item("a", 1.5), Item("b", number)]))
    with pytest.raises(EncodeError, match=r"^\$\.a\[0\]: "):
        JSON.encoder(Any)({"a": [number], "b": 2**70})
    with pytest.raises(EncodeError, match=r"^\$\.invoice\.ratio: "):
        JSON.encoder(Envelope)(Envelope(Invoice(number="1", at=dt.datetime.now(dt.UTC), ratio=number), []))
    with pytest.raises(EncodeError, match=r"^\$\.ratio: "):
        JSON.encoder(Invoice)(Invoice(number="1", at=dt.datetime.now(dt.UTC), ratio=number))
    with pytest.raises(EncodeError, match=r"does not exist in JSON"):
        JSON.encoder(dict[float, int | None])({number: None})
    assert JSON.encoder(Any)([msgspec.Raw(b"[1]"), 2**70, None]) == b"[[1],1180591620717411303424,null]"
    assert repr(MSGPACK.decoder(float)(MSGPACK.encoder(float)(number))) == repr(number)


@CODECS
def test_what_cannot_be_written_is_named_with_its_place(codec: Codec):
    """An object without a form, a lone surrogate, a value that contains itself: EncodeError says what and where."""
    circle: list[Any] = []
    circle.append(circle)
    with socket.socket() as sock:
        for value, text in [
            ({"a": [1, sock]}, "$.a[1]: socket cannot travel"),
            (Order(1, [Item("a", Renamed(sock))]), "$.items[0].price.unitPrice: socket cannot travel"),
            ({1: {object}}, "$[1][0]: type cannot travel"),
            (["a", "\ud800"], "$[1]: 'utf-8' codec can't encode"),
            (circle, "$: nested too deep, or contains itself"),
        ]:
            with pytest.raises(EncodeError) as caught:
                codec.encoder(Any)(value)
            assert str(caught.value).startswith(text)


def test_msgpack_refuses_integers_of_more_than_64_bits():
    """JSON writes any integer, msgpack has 64 bits: the error has the place."""
    assert JSON.encoder(list[int])([2**64]) == b"[18446744073709551616]"
    with pytest.raises(EncodeError, match=r"^\$\[1\]: can't serialize ints"):
        MSGPACK.encoder(list[int])([2**64 - 1, 2**64])


@CODECS
def test_validation_finds_what_the_other_side_would_refuse(codec: Codec):
    """With `validate`, a value of the wrong type is refused with its place; without, it is written as it is."""
    wrong = Order(1, [Item("a", "cheap")])  # type: ignore[arg-type]
    with pytest.raises(EncodeError, match=r"^\$\.items\[0\]\.price: expected float, got str$"):
        codec.encoder(Order, validate=True)(wrong)
    assert codec.encoder(Order)(wrong)
    with pytest.raises(EncodeError, match=r"^\$: expected object, got int$"):
        codec.encoder(Order, validate=True)(5)


@CODECS
def test_a_value_that_cannot_be_looked_at_is_an_encode_error(codec: Codec):
    """Also an object that fails while it is examined for the place ends in EncodeError."""

    class Odd(dict[str, Any]):
        def items(self):
            raise KeyError("no")

    with pytest.raises(EncodeError):
        codec.encoder(Any)(Odd(a=object()))


# --- pydantic ---------------------------------------------------------------------------------------------------------


@CODECS
def test_models_travel_by_alias_and_by_their_own_rules(codec: Codec):
    """Aliases are used, excluded fields stay here, strict models accept their own dates; nested or not."""
    at = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    invoice = Invoice(number="7", at=at, lines=[Line(amount=1, unitPrice=Decimal("1.50"))], secret="hidden")
    public = invoice.model_copy(update={"secret": ""})
    assert codec.decoder(Invoice)(codec.encoder(Invoice, validate=True)(invoice)) == public
    envelope = Envelope(invoice, [invoice], invoice.lines[0])
    data = codec.encoder(Envelope, validate=True)(envelope)
    assert b"unitPrice" in data
    assert b"hidden" not in data
    assert codec.decoder(Envelope)(data) == Envelope(public, [public], invoice.lines[0])


@CODECS
def test_models_are_read_by_field_name_too(codec: Codec):
    """A caller that knows the field but not its alias is understood."""
    assert codec.decoder(Line)(codec.encoder(Any)({"amount": 1, "unit_price": "2"})).unit_price == 2


def test_a_model_may_be_read_by_one_of_several_aliases():
    """Where validation accepts several names, the written one has to be among them."""

    class Choice(pydantic.BaseModel):
        size: int = pydantic.Field(validation_alias=pydantic.AliasChoices("width", "w"), serialization_alias="w")

    assert why_not_type(Choice) is None
    assert JSON.decoder(Choice)(JSON.encoder(Choice)(Choice(width=3))) == Choice(w=3)


@CODECS
def test_a_model_with_a_wrong_field_is_not_written(codec: Codec):
    """A field that was set past its validation is an EncodeError, not a warning."""
    with pytest.raises(EncodeError, match="amount"):
        codec.encoder(Line)(Line.model_construct(amount="many", unit_price=Decimal(1)))


def test_another_object_is_not_taken_for_a_model():
    """The direct way of writing a model checks its class."""
    with pytest.raises(EncodeError, match=r"^\$: expected Line, got int$"):
        JSON.encoder(Line)(5)


def test_pydantic_is_not_imported_by_the_codec():
    """Without a model of the user's, pydantic is neither needed nor loaded."""
    code = (
        "import sys; from meshcore.codec.codec import JSON; JSON.encoder(int)(1); sys.exit('pydantic' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": ":".join(sys.path)}).returncode
        == 0
    )


# --- what can travel --------------------------------------------------------------------------------------------------


class Opaque: ...


@dataclass
class WithCallback:
    rows: list[dict[str, Callable[[], int]]]


@dataclass
class Unresolved:
    x: "Nowhere"  # type: ignore[name-defined] # noqa: F821


class CallbackModel(pydantic.BaseModel):
    run: Callable[[], int]


SECRET = "is a secret, written as '**********'; give it a @field_serializer, or another type"
EXCLUDED = "is required, but excluded from what is written; give it a default, or do not exclude it"


class Crooked(pydantic.BaseModel):
    size: int = pydantic.Field(serialization_alias="width")


class Folded(pydantic.BaseModel):
    parts: dict[str, tuple[Crooked, ...]] = {}


class Login(pydantic.BaseModel):
    type: str
    password: pydantic.SecretStr


class Hidden(pydantic.BaseModel):
    keys: list[pydantic.SecretBytes | None] = []


class Number(pydantic.BaseModel):
    number: pydantic.Secret[int]


class Logins(pydantic.BaseModel):
    again: list["Logins"] = []
    logins: dict[str, list[Login | int]]


@dataclass
class Pin:
    pin: pydantic.SecretStr


class Card(pydantic.BaseModel):
    pin: Pin


class Sender(pydantic.BaseModel):
    token: str = pydantic.Field(exclude=True)


class Page(pydantic.BaseModel, Generic[T]):
    default: T


class Spread(pydantic.BaseModel):
    one: str = pydantic.Field(validation_alias=pydantic.AliasPath("q", "r"), serialization_alias="q")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    one: int

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def two(self) -> int:
        return 2 * self.one


class Open(Strict):
    model_config = pydantic.ConfigDict(extra="allow")


@pydantic.dataclasses.dataclass
class Half:
    x: int


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (list[Callable[[], int]], "$[]: Callable cannot travel"),
        (WithCallback, "$.rows[]{}: Callable cannot travel"),
        (AsyncIterator[int], "AsyncIterator cannot travel"),
        (tuple[int, Opaque], "$[1]: Opaque cannot travel; a dataclass can"),
        (object, "object cannot travel"),
        (complex, "complex cannot travel"),
        (Item | Order, "type unions may not contain more than one dataclass"),
        (str | dt.datetime, "type unions may not contain more than one str-like type"),
        (Line | int, "type unions containing a custom type"),
        (dict[bool, int], "bool cannot be the key of a dict: JSON has text there"),
        (list[dict[tuple[int, int], int]], "$[]: tuple cannot be the key of a dict"),
        (dict[int | str, int], "a union with str cannot be the key of a dict"),
        (dict[Literal["1", 1], int], "such a Literal cannot be the key of a dict"),
        (dict[int | None, int], "none cannot be the key of a dict"),
        (dict[Point, int], "Point cannot be the key of a dict"),
        (Unresolved, "name 'Nowhere' is not defined"),
        (msgspec.msgpack.Ext, "Ext cannot travel"),
        (CallbackModel, "CallbackModel cannot travel: "),
        (Crooked | None, "$: Crooked.size is written as 'width' but not read as that"),
        (Folded, "Crooked.size is written as 'width' but not read as that"),
        (Login, f"Login.password {SECRET}"),
        (Hidden, f"Hidden.keys {SECRET}"),
        (Number, f"Number.number {SECRET}"),
        (Logins, f"Login.password {SECRET}"),
        (Card, f"Pin.pin {SECRET}"),
        (Page[Login], f"Login.password {SECRET}"),
        (pydantic.RootModel[list[pydantic.SecretStr]], f"RootModel[list[SecretStr]] {SECRET}"),
        (list[Sender], f"$[]: Sender.token {EXCLUDED}"),
        (Page[Sender], f"Sender.token {EXCLUDED}"),
        (Half, "Half is a pydantic dataclass"),
        (Spread, "Spread.one is written as 'q' but not read as that"),
        (Strict, "Strict writes computed fields, and refuses them when it is read, as it forbids extra fields"),
        (list[Open], "$[]: Open writes computed fields, and keeps them when it is read, as it allows extra fields"),
    ],
    ids=str,
)
def test_a_type_that_cannot_travel_says_why(type_, reason):
    """The reason is one line with the place in the type, and building a codec function raises it."""
    text = why_not_type(type_)
    assert text is not None
    assert text.removeprefix("$: ").startswith(reason.removeprefix("$: "))
    assert "\n" not in text
    for build in (JSON.encoder, MSGPACK.decoder, from_text):
        with pytest.raises(TravelError, match=r"."):
            build(type_)


Shown = Annotated[pydantic.SecretStr, pydantic.PlainSerializer(pydantic.SecretStr.get_secret_value)]


class Frank(pydantic.BaseModel):
    one: pydantic.SecretStr
    two: Shown | None = None
    three: list[Shown] = []
    both: str = pydantic.Field("", validation_alias=pydantic.AliasChoices("a", "b"), serialization_alias="b")
    mine: int = pydantic.Field(0, exclude=True)
    kept: pydantic.SecretStr | None = pydantic.Field(None, exclude=True, serialization_alias="other")
    first: str = pydantic.Field("", validation_alias=pydantic.AliasPath("all", 0))

    @pydantic.field_serializer("one", when_used="json")
    def show(self, value: pydantic.SecretStr) -> str:
        return value.get_secret_value()

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def hint(self) -> pydantic.SecretStr:
        return self.one


class Whole(pydantic.BaseModel):
    secret: pydantic.SecretStr
    token: str = pydantic.Field(exclude=True)

    @pydantic.model_serializer
    def show(self) -> dict[str, str]:
        return {"secret": self.secret.get_secret_value(), "token": self.token}


@CODECS
@pytest.mark.parametrize(
    "value",
    [
        Frank(one="1", two="2", three=["3"], both="x"),
        Whole(secret="s", token="t"),
        [Page[Frank](default=Frank(one="1"))],
    ],
    ids=["fields", "model", "generic"],
)
def test_a_model_that_says_itself_how_it_is_written_travels(codec, value):
    """A secret with a serializer of its own arrives, and what is excluded is its default on the other side."""
    type_ = list[Page[Frank]] if isinstance(value, list) else type(value)
    assert codec.decoder(type_)(codec.encoder(type_)(value)) == value


@pytest.mark.parametrize(
    ("type_", "bounded", "floats"),
    [
        (int, True, False),
        (Order, True, True),
        (Tree, False, True),
        (list[Any], False, True),
        (Line, False, True),
        (list[msgspec.Raw], True, False),
        (Cat | Dog, True, False),
        (tuple[Order, Order], True, True),
    ],
    ids=str,
)
def test_the_shape_of_a_type_says_what_to_watch_for(type_, bounded, floats):
    """Recursion and Any make the depth unbounded; the same class twice side by side does not."""
    assert (shape_of(type_).bounded, shape_of(type_).floats) == (bounded, floats)


def test_the_codecs_name_themselves():
    """Name and media type are those of channels and bodies."""
    assert [(codec.name, codec.content_type) for codec in (JSON, MSGPACK)] == [
        ("json", "application/json"),
        ("msgpack", "application/msgpack"),
    ]


# --- text -------------------------------------------------------------------------------------------------------------


TEXT_TYPES = [typed for typed in HASHABLE if typed[0] is not bytes] + [(bool, st.booleans()), (bytes, st.binary())]


@GENERATED
@given(
    case=st.sampled_from(TEXT_TYPES).flatmap(lambda typed: st.tuples(st.just(typed[0]), typed[1], st.lists(typed[1])))
)
def test_text_is_read_back(case):
    """Every scalar, alone, optional or repeated, comes back from the text that it was written as."""
    type_, value, values = case
    assert from_text(type_)(to_text(value)) == value
    assert from_text(type_ | None)(to_text(value)) == value
    assert from_text(list[type_])(to_text(values)) == values
    assert from_text(list[type_])(to_text(value)) == [value]
    assert from_text(tuple[type_, ...] | None)(to_text(values)) == tuple(values)


@GENERATED
@given(type_=st.sampled_from(TEXT_TYPES).map(lambda typed: typed[0]), text=TEXTS | st.lists(TEXTS, max_size=3))
def test_arbitrary_text_is_read_or_raises_decode_error(type_, text):
    """Whatever the text, a value or DecodeError."""
    for read in (from_text(type_), from_text(set[type_] | None)):
        with contextlib.suppress(DecodeError):
            read(text)


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (bool, "1", True),
        (bool, "0", False),
        (bool, "true", True),
        (bool, "False", False),
        (int | None, "5", 5),
        (str | None, "null", "null"),
        (int, ["5"], 5),
        (list[int] | int, "5", 5),
        (list[int] | int, ["5", "6"], [5, 6]),
        (Literal[1, 2], "2", 2),
        (Colour, "red", Colour.RED),
        (Any, "5", "5"),
    ],
)
def test_text_is_read_as_people_write_it(type_, text, value):
    """One text or a repeated name, numbers and booleans as text."""
    assert same(from_text(type_)(text), value)


@pytest.mark.parametrize(
    ("type_", "text", "reason"),
    [
        (int, "abc", "$: expected int, got 'abc'"),
        (int, "a" * 100, f"$: expected int, got '{'a' * 40}...'"),
        (int, "", "$: expected int, got str"),
        (bool, "yes", "$: expected bool, got 'yes'"),
        (list[int], ["1", "x"], "$[1]: expected int, got 'x'"),
        (int, ["1", "2"], "$: expected one value, got 2"),
        (int, [], "$: expected one value, got 0"),
        (Colour, "green", "$: invalid enum value 'green'"),
        (float, "nan", "$: expected a finite number, got nan"),
        (list[float], ["1", "-inf"], "$: expected a finite number, got -inf"),
    ],
)
def test_wrong_text_is_quoted(type_, text, reason):
    """The reason shows the text, cut when it is long."""
    with pytest.raises(DecodeError) as caught:
        from_text(type_)(text)
    assert str(caught.value) == reason


@pytest.mark.parametrize("type_", [Order, list[Order], list[list[int]], dict[str, int], Point, Line, tuple[Point, int]])
def test_objects_have_no_form_as_text(type_):
    """What a URL cannot hold is refused when the function is built."""
    with pytest.raises(TravelError, match="has no form as text"):
        from_text(type_)


@pytest.mark.parametrize("value", [{"a": 1}, [None], [[1]], math.nan, [math.inf], Order(1, []), Opaque()])
def test_values_without_a_form_as_text_are_refused(value):
    """Objects, nested lists and numbers that JSON has not either are an EncodeError."""
    with pytest.raises(EncodeError):
        to_text(value)


def test_none_is_left_out():
    """A query cannot say null."""
    assert to_text(None) is None


@pytest.mark.parametrize("type_", [dict[str, int], Any, Level])
@pytest.mark.parametrize("unique", [False, True])
def test_a_byte_order_mark_before_json_is_ignored(type_: Any, *, unique: bool) -> None:
    """Windows and .NET write one; two are one too many."""
    body = b"\xef\xbb\xbf" + (b"2" if type_ is Level else b'{"a": 1}')
    decode = JSON.decoder(type_, unique=unique)
    assert decode(body) == decode(body[3:])
    with pytest.raises(DecodeError, match=r"malformed|expected|invalid"):
        MSGPACK.decoder(type_)(body)
    with pytest.raises(DecodeError, match=r"malformed JSON at byte 0: invalid character"):
        decode(b"\xef\xbb\xbf\xff")
    with pytest.raises(DecodeError, match=r"malformed JSON at byte 0: invalid character"):
        decode(b"\xef\xbb\xbf" * 2 + body[3:])


@CODECS
@pytest.mark.parametrize("text", ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("wrap", [Decimal, lambda text: [Decimal(text)]], ids=["itself", "in a list"])
def test_decimals_that_are_no_number_arrive(codec: Codec, text: str, wrap: Callable[[str], Any]) -> None:
    """A Decimal is a text in both formats, so each of them has a form."""
    value = wrap(text)
    type_: Any = list[Decimal] if isinstance(value, list) else Decimal
    assert repr(codec.decoder(type_)(codec.encoder(type_, validate=True)(value))) == repr(value)


@CODECS
@pytest.mark.parametrize("cls", [type(None), bool, str, bytes, float, Decimal, uuid.UUID])
@given(data=st.data())
def test_simple_results_need_not_be_read_back(codec: Codec, cls: type, data: st.DataObject) -> None:
    """Whatever of these classes can be written, the receiver takes: `validate` does not look at it."""
    value = data.draw(st.from_type(cls))
    try:
        written = codec.encoder(cls)(value)
    except EncodeError:  # half of a surrogate pair, or no number in JSON
        with pytest.raises(EncodeError):
            codec.encoder(cls, validate=True)(value)
    else:
        assert codec.encoder(cls, validate=True)(value) == written
        codec.decoder(cls)(written)


@CODECS
def test_results_of_another_class_are_read_back(codec: Codec) -> None:
    """Only the class itself is known to fit."""
    with pytest.raises(EncodeError, match=r"expected `?str`?, got `?int`?"):
        codec.encoder(str, validate=True)(7)
    with pytest.raises(EncodeError):
        codec.encoder(None, validate=True)("x")
