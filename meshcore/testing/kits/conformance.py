"""The service that the conformance kit for channels calls, with a method for each thing that a channel must carry.

Every method has an HTTP mapping, so that the kit can check channels of either kind.
"""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec

from meshcore.declare.components import Component
from meshcore.declare.http import Body, delete, get, post, put, rest
from meshcore.declare.services import Service, component, raises, service


class Colour(Enum):
    """Travels as text."""

    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    """Travels as a number."""

    LOW = 1
    HIGH = 2


@dataclass
class Tree:
    """Contains itself."""

    name: str
    children: list[Tree] = field(default_factory=list["Tree"])
    parent: Tree | None = None


class Circle(msgspec.Struct, tag="circle"):
    """One of two shapes."""

    radius: float


class Square(msgspec.Struct, tag="square"):
    """The other."""

    side: int


class Point(NamedTuple):
    """A tuple with names."""

    x: float
    y: float


class Labels(TypedDict, total=False):
    """A dict with names."""

    colour: Colour
    count: int


class Scalars(msgspec.Struct):
    """All types that have a text form."""

    text: str = ""
    number: int = 0
    ratio: float = 0.0
    flag: bool = False
    amount: Decimal = Decimal(0)
    when: dt.datetime = dt.datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=dt.UTC)
    day: dt.date = dt.date(2024, 2, 29)
    lasts: dt.timedelta = dt.timedelta(0)
    id: UUID = UUID(int=0)
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    blob: bytes = b""


class Everything(msgspec.Struct):
    """All types that travel, in one value."""

    scalars: Scalars
    tree: Tree
    shapes: list[Circle | Square]
    maybe: int | None
    anything: Any
    pair: tuple[int, str]
    many: tuple[float, ...]
    distinct: set[str]
    frozen: frozenset[int]
    table: dict[str, list[Decimal]]
    by_number: dict[int, str]
    by_colour: dict[Colour, Level]
    point: Point
    labels: Labels


class Chosen(msgspec.Struct):
    """The arguments that a method with defaults has received."""

    first: str
    second: int
    third: str | None
    fourth: list[int]
    fifth: int | None
    sixth: Tree | None = None


@dataclass
class OutOfStock(Exception):  # noqa: N818 - named as in a domain
    """A declared exception whose fields are those of a dataclass."""

    item: str
    left: int
    price: Decimal
    offers: list[Tree]


class Overdrawn(Exception):  # noqa: N818
    """A declared exception whose fields are the parameters of its constructor."""

    def __init__(self, account: UUID, *, missing: Decimal | None = None) -> None:
        super().__init__(f"account {account} lacks {missing}")
        self.account = account
        self.missing = missing


@service(name="conformance")
@rest("/conformance")
class Conformance(Service):
    """One method for each thing that a channel must carry."""

    # The signatures stand in the implementation a second time, as in every service.

    @abstractmethod
    @post("/everything")
    async def everything(self, value: Everything) -> Everything:
        """Return the value."""

    @abstractmethod
    @post("/shape")
    async def shape(self, value: Body[Circle | Square | None]) -> Circle | Square | None:
        """Return the value."""

    @abstractmethod
    @put("/table")
    async def table(self, value: Body[dict[str, list[int]]]) -> dict[str, list[int]]:
        """Return the value."""

    @abstractmethod
    @post("/triple")
    async def triple(self, value: Body[tuple[int, str, float | None]]) -> tuple[int, str, float | None]:
        """Return the value."""

    @abstractmethod
    @post("/text")
    async def text(self, value: Body[str]) -> str:
        """Return the value."""

    @abstractmethod
    @get("/scalars")
    async def scalars(  # noqa: PLR0913, PLR0917 - one for each type
        self,
        text: str,
        number: int,
        ratio: float,
        flag: bool,  # noqa: FBT001 - as above
        amount: Decimal,
        when: dt.datetime,
        day: dt.date,
        lasts: dt.timedelta,
        id: UUID,  # noqa: A002 - as users would call it
        colour: Colour,
        level: Level,
        blob: bytes,
    ) -> Scalars:
        """Return the arguments."""

    @abstractmethod
    @get("/places/{first}/of/{second}")
    async def places(self, first: str, second: int, third: str) -> list[str]:
        """Return the arguments as text."""

    @abstractmethod
    @get("/lists")
    async def lists(
        self, numbers: list[int], names: set[str], amounts: list[Decimal] | None
    ) -> tuple[list[int], list[str], list[Decimal] | None]:
        """Return the arguments, with sorted names."""

    @abstractmethod
    @post("/chosen")
    async def chosen(
        self,
        first: str,
        second: int = 2,
        *,
        third: str | None = None,
        fourth: Sequence[int] = (4,),
        fifth: int | None = 5,
        sixth: Tree | None = None,
    ) -> Chosen:
        """Return the arguments."""

    @abstractmethod
    @delete("/nothing")
    async def nothing(self) -> None:
        """Return nothing."""

    @abstractmethod
    @get("/maybe")
    async def maybe(self, *, found: bool) -> Tree | None:
        """Return a tree, or None."""

    @abstractmethod
    @post("/buy")
    @raises(OutOfStock, Overdrawn)
    async def buy(self, what: str) -> None:
        """Raise a declared exception, by its name."""

    @abstractmethod
    @get("/missing/{key}")
    async def missing(self, key: int) -> str:
        """Raise a NOT_FOUND with details."""

    @abstractmethod
    @get("/forbidden")
    async def forbidden(self) -> None:
        """Raise a PERMISSION_DENIED."""

    @abstractmethod
    @post("/crash")
    async def crash(self) -> str:
        """Raise an undeclared exception."""

    @abstractmethod
    @post("/lie")
    async def lie(self) -> int:
        """Return a text, which is not what the interface declares."""

    @abstractmethod
    @post("/count/{number}")
    async def count(self, number: int) -> int:
        """Return the number plus one."""

    @abstractmethod
    @post("/meet")
    async def meet(self, number: int, of: int) -> int:
        """Return when so many calls have come."""

    @abstractmethod
    @post("/hold")
    async def hold(self, name: str) -> None:
        """Never return."""

    @abstractmethod
    @get("/large")
    async def large(self, size: int) -> str:
        """Return so many characters."""

    @abstractmethod
    @get("/remaining")
    async def remaining(self) -> float:
        """Return the seconds until the deadline."""

    @abstractmethod
    @get("/header")
    async def header(self) -> str:
        """Return the header `HEADER` of the call."""


HEADER = "conformance"
"""The name of a header that the client of the kit adds to every call."""


@component(name="conformance", services=[Conformance])
class ConformanceComponent(Component):
    """Offers the service."""
