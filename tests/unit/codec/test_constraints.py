"""A constraint in an annotation is enforced, or the type is refused with the constraint's name and place."""

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import annotated_types
import attrs
import msgspec
import pydantic
import pytest
from typing_extensions import Doc

from meshcore import ConfigurationError, Service, describe, get, service
from meshcore.codec.codec import JSON, MSGPACK
from meshcore.codec.errors import DecodeError
from meshcore.codec.wire_types import why_not_type

T = TypeVar("T")
Bound = TypeVar("Bound", bound=pydantic.PositiveInt)
Positive = NewType("Positive", pydantic.PositiveInt)


class AtMost:
    """A constraint of somebody's own."""

    def __init__(self, bound: int) -> None:
        self.le = bound

    def __repr__(self) -> str:  # names the test, the same in every process
        return f"AtMost({self.le})"


class Checked:
    def validate(self, value: object) -> bool:
        return bool(value)

    def __repr__(self) -> str:
        return "Checked()"


@dataclass
class Held:
    amount: pydantic.PositiveInt


@dataclass
class Defaulted:
    amount: int = pydantic.Field(gt=0)


class Record(msgspec.Struct):
    held: list[Held]


class Pair(NamedTuple):
    amount: pydantic.PositiveInt


class Keyed(TypedDict):
    amount: NotRequired[Annotated[int, annotated_types.Interval(gt=0, le=9)]]


@attrs.define
class Defined:
    amount: dict[str, pydantic.PositiveInt]


@dataclass
class Box(Generic[T]):
    content: T


@dataclass
class BoundBox(Generic[Bound]):
    content: Bound


class Model(pydantic.BaseModel):
    held: Held
    amounts: list[Annotated[int, pydantic.Field(gt=0)]] = []


class Crossed(pydantic.BaseModel):
    amounts: list[Annotated[int, msgspec.Meta(gt=0, description="x")]]


class CrossedDirectly(pydantic.BaseModel):
    amount: Annotated[int, msgspec.Meta(gt=0)]


GT = "annotated_types.Gt would not be enforced here; write msgspec.Meta(gt=0)"
CHECK = "would not be enforced here; check it in the implementation, or in a pydantic model"
CROSSED = "msgspec.Meta has no effect in a pydantic model; write pydantic.Field(gt=0)"


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (pydantic.PositiveInt, GT),
        (pydantic.PositiveInt | None, GT),
        (list[pydantic.PositiveInt], f"$[]: {GT}"),
        (dict[str, tuple[pydantic.PositiveInt, ...]], "$" + "{}[]: " + GT),
        (Positive, GT),
        (Held, f"$.amount: {GT}"),
        (Record, f"$.held[].amount: {GT}"),
        (Pair, f"$.amount: {GT}"),
        (Keyed, "$.amount: annotated_types.Interval would not be enforced here; write msgspec.Meta(gt=0, le=9)"),
        (Defined, "$.amount{}: " + GT),
        (Box[pydantic.PositiveInt], f"$[]: {GT}"),
        (BoundBox, f"$.content: {GT}"),
        (Defaulted, "$.amount: pydantic.Field would not be enforced here; write msgspec.Meta(gt=0)"),
        (
            Annotated[int, pydantic.Field(gt=0, multiple_of=2)],
            "pydantic.Field would not be enforced here; write msgspec.Meta(gt=0, multiple_of=2)",
        ),
        (
            pydantic.constr(max_length=2, pattern="a"),
            "pydantic.StringConstraints would not be enforced here; write msgspec.Meta(max_length=2, pattern='a')",
        ),
        (
            pydantic.conlist(int, max_length=2),
            "annotated_types.Len would not be enforced here; write msgspec.Meta(max_length=2)",
        ),
        (Annotated[str, pydantic.Field(alias="x")], f"pydantic.Field {CHECK}"),
        (Annotated[int, pydantic.AfterValidator(abs)], f"pydantic.AfterValidator {CHECK}"),
        (Annotated[int, annotated_types.Predicate(bool)], f"annotated_types.Predicate {CHECK}"),
        (Annotated[int, attrs.validators.gt(0)], f"attr.NumberValidator {CHECK}"),
        (pydantic.UUID4, f"pydantic.UuidVersion {CHECK}"),
        (pydantic.FiniteFloat, f"pydantic.AllowInfNan {CHECK}"),
        (pydantic.Json[int], f"pydantic.Json {CHECK}"),
        (pydantic.OnErrorOmit[int], f"pydantic.OnErrorOmit {CHECK}"),
        (Annotated[int, AtMost(3)], "AtMost would not be enforced here; write msgspec.Meta(le=3)"),
        (Annotated[int, Checked()], f"Checked {CHECK}"),
        (pydantic.condate(gt=dt.date(2020, 1, 1)), f"annotated_types.Interval {CHECK}"),
        (Annotated[Decimal, annotated_types.Ge(Decimal("1.5"))], f"annotated_types.Ge {CHECK}"),
        (Annotated[list[int], slice(1, 3)], f"slice {CHECK}"),
        (Annotated[str, re.compile("a")], "Pattern would not be enforced here; write msgspec.Meta(pattern='a')"),
        (Crossed, f"$.amounts[]: {CROSSED}"),
        (list[CrossedDirectly], f"$[].amount: {CROSSED}"),
    ],
    ids=str,
)
def test_a_constraint_that_would_do_nothing_is_refused(type_, reason):
    """The reason names it, its place, and what to write."""
    text = why_not_type(type_)
    assert text == reason


class Documented(msgspec.Struct):
    kind: ClassVar[Annotated[int, annotated_types.Gt(0)]] = 1
    amount: Annotated[int, Doc("how many"), pydantic.Field(description="how many"), "text", print, None] = 0


@pytest.mark.parametrize(
    "type_",
    [
        Annotated[int, msgspec.Meta(gt=0)],
        dict[str, Annotated[str, msgspec.Meta(max_length=2)]],
        Documented,
        Model,
        list[Model],
        pydantic.StrictInt,
        Annotated[int, annotated_types.doc("how many")],
        Annotated[Any, {"gt": 0}],
    ],
    ids=str,
)
def test_what_is_enforced_or_only_documents_travels(type_):
    """Meta outside of models, pydantic's constraints inside, and texts anywhere."""
    assert why_not_type(type_) is None


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
def test_a_model_enforces_what_its_dataclasses_say(codec):
    """Pydantic reads them, so what is refused outside is enforced there."""
    with pytest.raises(DecodeError, match=r"^\$\.held\.amount: input should be greater than 0$"):
        codec.decoder(Model)(codec.encoder(Any)({"held": {"amount": -1}}))


def test_a_default_that_is_a_constraint_is_refused():
    """As FastAPI has them: here it would be the value."""

    @service()
    class Shop(Service):
        @get("/shop")
        async def search(self, limit: int = pydantic.Field(10, le=100)) -> int: ...

        search.__isabstractmethod__ = True  # type: ignore[attr-defined]

    with pytest.raises(
        ConfigurationError, match=r"pydantic\.Field would not be enforced here; write msgspec\.Meta\(le="
    ):
        describe(Shop)
