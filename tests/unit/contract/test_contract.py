"""Contracts: what an interface promises, as data that is the same everywhere."""

from __future__ import annotations

import enum
from abc import abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID, uuid4

import msgspec
import pydantic
import pytest

from examples.orders import OrdersComponent, WarehouseComponent
from meshcore import Component, Service, component, service
from meshcore.contract.contract import Contract, contract_of, decode_contract, digests_of, encode_contract
from meshcore.contract.reader import component_contract, service_contract
from meshcore.contract.types import TypeReader
from meshcore.declare.reader import describe, describe_component

DANGLING = b"""{"meshcore_contract": 1, "components": [{"name": "c", "services": [{"name": "s", "methods": [
    {"name": "m", "parameters": [], "returns": {"kind": "list", "parts": [{"kind": "ref", "name": "X"}]}}
]}]}]}"""
GOLDEN = Path(__file__).parent / "orders_contract.json"
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list["Node"])
    id: UUID = field(default_factory=uuid4)


@dataclass
class Page(Generic[T]):
    items: list[T]
    following: Page[T] | None = None


class Options(TypedDict):
    depth: int
    colour: NotRequired[Colour]


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Circle(msgspec.Struct, tag="circle", forbid_unknown_fields=True):
    radius: float


class Square(msgspec.Struct, tag="square", omit_defaults=True):
    side: float = 1.0


class Line(pydantic.BaseModel):
    sku: str = pydantic.Field(min_length=1)
    price: Decimal | None = None
    colours: list[Colour] = []


class Basket(pydantic.BaseModel):
    lines: list[Line]
    inner: Basket | None = None
    at: datetime | None = None


def orders_contract() -> Contract:
    """That of the example."""
    problems: list[str] = []
    components = [describe_component(each, problems) for each in (OrdersComponent, WarehouseComponent)]
    assert not problems
    return contract_of(map(component_contract, components))


def test_the_contract_of_the_example_is_the_saved_one() -> None:
    """Byte by byte, on every Python version.

    After an intended change: `meshcore describe examples.orders:OrdersModule --json > tests/unit/orders_contract.json`.
    """
    assert encode_contract(orders_contract()) == GOLDEN.read_bytes()


def test_a_saved_contract_is_read_again() -> None:
    """Reading gives back what was written, digests included."""
    contract = orders_contract()
    assert decode_contract(encode_contract(contract)) == contract


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is not a contract: "),
        (b"[1]", "it is not a contract: "),
        (b"\xff", "it is not a contract: "),
        (b"[" * 100_000, "it is not a contract: "),
        (b'{"openapi": "3.1.0"}', "it is JSON, but not a contract: it has no meshcore_contract"),
        (b'{"meshcore_contract": 2}', "it has version 2, only version 1 is supported"),
        (b'{"meshcore_contract": 1, "components": [{"name": 7}]}', "it is not a contract: Expected `str`, got `int`"),
        (DANGLING, "it is not a contract: service 's' has no type 'X'"),
    ],
)
def test_what_is_no_contract_is_refused(data: bytes, reason: str) -> None:
    """With the reason, whatever the bytes."""
    with pytest.raises(ValueError, match="^" + reason.replace("[", r"\[")):
        decode_contract(data)


@pytest.mark.parametrize(
    ("type_", "text", "structures"),
    [
        (int, "int", {}),
        (Annotated[int, msgspec.Meta(ge=1, description="how many")], "int (ge=1)", {}),
        (str | int | None, "str | int | None", {}),
        (None, "None", {}),
        (Any, "any", {}),
        (tuple[int, str], "tuple[int, str]", {}),
        (tuple[int, ...], "list[int]", {}),
        (frozenset[bytes], "set[bytes]", {}),
        (dict[str, list[Decimal]], "map[str, list[decimal]]", {}),
        (Colour, "Colour", {}),
        (Literal["b", "a"], "Literal['a', 'b']", {}),
        (Literal["b"] | None, "Literal['b'] | None", {}),
        (Node, "Node", {"Node": ["name: str", "children: list[Node] = []", "id: uuid = ..."]}),
        (Page[int], "Page", {"Page": ["items: list[int]", "following: Page | None = None"]}),
        (Options, "Options", {"Options": ["colour: Colour?", "depth: int"]}),
        (Point, "Point", {"Point": ["x: float", "y: float = 0.0"]}),
        (Circle | Square, "Circle | Square", {"Circle": ["radius: float"], "Square": ["side: float? = 1.0"]}),
        (
            Basket,
            "Basket",
            {
                "Basket": ["lines: list[Line]", "inner: Basket | None = None", "at: datetime | None = None"],
                "Line": ["sku: str (min_length=1)", "price: decimal | None = None", "colours: list[Colour] = []"],
            },
        ),
    ],
)
def test_types_in_words(type_: Any, text: str, structures: dict[str, list[str]]) -> None:
    """Every kind of type has its words, and each class its structure, also one that contains itself."""
    reader = TypeReader([type_])
    assert str(reader.next()) == text
    found = {name: [show(each) for each in structure.fields] for name, structure in reader.types.items()}
    assert found == structures


def show(each: Any) -> str:
    """A field in short."""
    text = f"{each.name}: {each.type}{'?' if each.omitted else ''}"
    if each.default is not msgspec.UNSET:
        text += f" = {each.default}"
    elif not each.required and not each.omitted:
        text += " = ..."
    return text


def test_classes_of_the_same_name_are_kept_apart() -> None:
    """Two instances of a generic class, for one, are two structures; the same one twice is one."""
    reader = TypeReader([Page[int], Page[str], Page[int]])
    assert [str(reader.next()) for _ in range(3)] == ["Page", "Page#2", "Page"]
    assert list(reader.types) == ["Page", "Page#2"]


def test_names_of_classes_and_texts_do_not_change_the_digest() -> None:
    """Callers cannot notice them, nor in which order methods and fields are written down."""

    def variant() -> tuple[type, type]:
        @service("same", "one text")
        class One(Service):
            @abstractmethod
            async def put(self, item: Node, shape: Circle | Square) -> Options:
                """Put it."""

            @abstractmethod
            async def get(self) -> set[int]: ...

        @dataclass
        class Knot:
            children: list[Knot] = field(default_factory=list)
            id: UUID = field(default_factory=uuid4)
            name: str = field(kw_only=True)

        # Local classes are no names that an annotation in a string could find.
        Knot.__annotations__["children"] = list[Knot]

        @service("same", "another text")
        class Other(Service):
            @abstractmethod
            async def get(self) -> set[int]: ...

            @abstractmethod
            async def put(self, item: Any, shape: Square | Circle) -> Options: ...

        Other.put.__annotations__["item"] = Knot
        return One, Other

    one, other = (service_contract(describe(each)) for each in variant())
    assert one.digest == other.digest
    assert one != other


def test_digests_travel_in_one_short_text() -> None:
    """Eight digits for each service, and names with whatever characters."""

    @service("a=b,c é")
    class Odd(Service):
        @abstractmethod
        async def go(self) -> None: ...

    @service("plain")
    class Plain(Service):
        @abstractmethod
        async def go(self, far: int) -> None: ...

    @component("both", services=[Odd, Plain])
    class Both(Component): ...

    found = component_contract(describe_component(Both, []))
    text = found.digest
    assert digests_of(text) == {each.name: each.digest for each in found.services}
    assert digests_of(text).keys() == {"a=b,c é", "plain"}
    assert text.isascii()
    assert digests_of("") == digests_of("0123456789abcdef") == {}
