from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, NamedTuple, TypedDict
from uuid import UUID, uuid4

import msgspec
import pytest

from meshcore import Header, Query, Service, describe, get, idempotency_key, idempotent, rest, service
from meshcore.codec.codec import JSON, MSGPACK, Codec
from meshcore.contract.contract import MethodContract, ParameterContract, ServiceContract, Type
from meshcore.contract.reader import service_contract
from meshcore.contract.stub import stub_of


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(msgspec.Struct, tag=True):
    lives: int = 9


class Dog(msgspec.Struct, tag=True):
    name: str


class Extra(TypedDict, total=False):
    note: str


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list)
    parent: Node | None = None


@service(name="zoo")
@rest("/zoo")
class Zoo(Service):
    @abstractmethod
    async def keep(self, pet: Cat | Dog, tree: Node, color: Color, extra: Extra, data: bytes) -> None: ...

    @abstractmethod
    @get("/find/{name}")
    async def find(
        self, name: str, since: datetime, *, price: Decimal = Decimal("1.5"), tags: list[int] | None = None
    ) -> None: ...

    @abstractmethod
    @get("/named")
    async def named(
        self, begin: Annotated[int, Query(alias="from")] = 0, trace: Annotated[str, Header(alias="X-Trace")] = ""
    ) -> None: ...

    @abstractmethod
    @idempotent
    async def count(self, sizes: dict[str, tuple[int, float]]) -> int: ...

    @abstractmethod
    @idempotency_key(60.0)
    async def add(self, pet: int | str | None) -> int: ...


CONTRACT = service_contract(describe(Zoo))


def method_of(name: str):
    """The method of the replica, described like any other."""
    (contract,) = [method for method in CONTRACT.methods if method.name == name]
    interface, _ = stub_of("zoo", CONTRACT, contract)
    (method,) = describe(interface).methods
    return method


@pytest.mark.parametrize("name", ["keep", "find", "named", "count", "add"])
def test_a_replica_is_called_alike(name: str) -> None:
    """Names, order, defaults, mapping and what may be repeated are those of the interface."""
    copy, original = method_of(name), describe(Zoo).method(name)
    assert original is not None
    assert (str(copy), copy.idempotent, copy.http and copy.http.path) == (
        str(original),
        original.idempotent,
        original.http and original.http.path,
    )
    assert (copy.idempotency_key is None) == (original.idempotency_key is None)
    assert [(each.name, each.default, each.source, each.wire_name) for each in copy.parameters] == [
        (each.name, each.default, each.source, each.wire_name) for each in original.parameters
    ]


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("pet", '{"type":"Dog","name":"rex"}'),
        ("pet", '{"type":"Cat"}'),
        ("tree", '{"name":"a","children":[{"name":"b","parent":{"name":"c"}}]}'),
        ("color", '"red"'),
        ("extra", "{}"),
        ("data", '"aGVsbG8="'),
    ],
)
def test_arguments_arrive_as_they_would(parameter: str, text: str) -> None:
    """What the replica reads and writes, in either format, is what the interface reads."""
    (ours,) = [each.type for each in method_of("keep").parameters if each.name == parameter]
    (theirs,) = [each.type for each in describe(Zoo).methods[0].parameters if each.name == parameter]
    value = JSON.decoder(ours)(text.encode())
    expected = JSON.decoder(theirs)(text.encode())
    for codec in (JSON, MSGPACK):
        assert codec.decoder(theirs)(codec.encoder(ours)(value)) == expected


class Point(NamedTuple):
    x: float
    y: float = 0.5
    tags: list[str] = []  # noqa: RUF012 - msgspec makes a new one each time
    data: bytes = b"hi"
    node: Node | None = None


class Row(msgspec.Struct, array_like=True):
    a: int
    at: Decimal = Decimal("1.5")
    more: list[Row] = []


class Fresh(msgspec.Struct, array_like=True):
    a: int
    id: UUID = msgspec.field(default_factory=uuid4)


@service(name="plane")
class Plane(Service):
    @abstractmethod
    async def draw(self, point: Point, rows: list[Row], fresh: Fresh) -> None: ...


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
@pytest.mark.parametrize(
    ("at", "text", "expected"),
    [
        (0, "[1.0]", Point(1.0)),
        (0, '[1.0, 2.0, ["a"]]', Point(1.0, 2.0, ["a"])),
        (1, "[[1]]", [Row(1)]),
        (1, '[[1, "2.5", [[2]]]]', [Row(1, Decimal("2.5"), [Row(2)])]),
    ],
)
def test_what_is_optional_in_an_array_may_be_left_out(codec: Codec, at: int, text: str, expected: object) -> None:
    """Of a named tuple or a struct like an array; then its default is sent, since what follows has its place."""
    contract = service_contract(describe(Plane))
    interface, _ = stub_of("plane", contract, contract.methods[0])
    ours, theirs = (describe(each).methods[0].parameters for each in (interface, Plane))
    value = JSON.decoder(ours[at].type)(text.encode())
    assert codec.decoder(theirs[at].type)(codec.encoder(ours[at].type)(value)) == expected


def test_a_default_in_an_array_that_the_contract_does_not_tell() -> None:
    """It can be left out all the same: the server judges."""
    contract = service_contract(describe(Plane))
    interface, _ = stub_of("plane", contract, contract.methods[0])
    *_, fresh = describe(interface).methods[0].parameters
    assert JSON.decoder(fresh.type)(b"[1]") == [1]


@pytest.mark.parametrize("source", ["", "query"])
def test_a_default_that_does_not_fit_its_type(source: str) -> None:
    """A server of before that was checked has one: it can be called."""
    parameter = ParameterContract("limit", Type("int"), required=False, default=None, source=source)
    method = MethodContract("run", (parameter,), Type("none"), http="GET /run" if source else "")
    interface, _ = stub_of("zoo", ServiceContract("zoo", (method,)), method)
    (found,) = describe(interface).methods[0].parameters
    assert found.default is None
    assert JSON.decoder(found.type)(b"5") == 5


@pytest.mark.parametrize("name", ["x(self): import os #", "class", "_private", "", "a b"])
def test_names_are_checked(name: str) -> None:
    """A contract is somebody else's text: no name in it becomes code unless it is a name."""
    parameter = ParameterContract(name, Type("str"))
    for method in (MethodContract(name, (), Type("none")), MethodContract("run", (parameter,), Type("none"))):
        with pytest.raises(ValueError, match="is not a name that Python can call"):
            stub_of("zoo", ServiceContract("zoo", (method,)), method)


def test_a_type_that_cannot_be_had_is_any() -> None:
    """What this process cannot express is left to the server to judge."""
    union = Type("union", parts=(Type("uuid"), Type("datetime"), Type("str")))
    method = MethodContract("run", (ParameterContract("value", union),), Type("none"))
    interface, _ = stub_of("zoo", ServiceContract("zoo", (method,)), method)
    assert JSON.decoder(describe(interface).methods[0].parameters[0].type)(b"5") == 5
