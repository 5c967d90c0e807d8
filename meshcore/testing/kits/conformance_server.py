"""The implementation of the service that the conformance kit for channels calls."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import defaultdict
from collections.abc import Sequence
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from meshcore.core.call import Call, Handler, Interceptors, ambient_deadline
from meshcore.core.errors import Code, MeshError
from meshcore.core.instances import ChannelAddress
from meshcore.declare.components import AbstractComponent
from meshcore.declare.injection import create, module
from meshcore.declare.services import implementation
from meshcore.testing.kits.conformance import (
    HEADER,
    Chosen,
    Circle,
    Colour,
    Conformance,
    ConformanceComponent,
    Everything,
    Level,
    OutOfStock,
    Overdrawn,
    Scalars,
    Square,
    Tree,
)

SECRET = "the server's secret"  # noqa: S105 - not a real one

ACCOUNT = UUID("6a0f7c1e-4d57-4b8f-9c53-0f5a3f0f9a11")

_header: ContextVar[str] = ContextVar("_header", default="")


async def read_header(handler: Handler, call: Call) -> Any:
    """Keep the header for the implementation. This is an interceptor."""
    token = _header.set(call.headers.get(HEADER, ""))
    try:
        return await handler(call)
    finally:
        _header.reset(token)


def out_of_stock() -> OutOfStock:
    """Make the exception of `buy("stock")`."""
    return OutOfStock("tëa/?#%", 0, Decimal("1.50"), [Tree("a", [Tree("b")])])


@implementation()
class ConformanceImpl(Conformance):
    """The implementation.

    Attributes:
        begun: by name, set when `hold` has begun.
        cancelled: by name, set when `hold` was cancelled.
    """

    def __init__(self) -> None:
        self.begun: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.cancelled: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._here = 0
        self._complete = asyncio.Event()

    # The signatures stand here and in the interface, as in every implementation of a service.

    async def everything(self, value: Everything) -> Everything:
        """Return the value."""
        return value

    async def shape(self, value: Circle | Square | None) -> Circle | Square | None:
        """Return the value."""
        return value

    async def table(self, value: dict[str, list[int]]) -> dict[str, list[int]]:
        """Return the value."""
        return value

    async def triple(self, value: tuple[int, str, float | None]) -> tuple[int, str, float | None]:
        """Return the value."""
        return value

    async def text(self, value: str) -> str:
        """Return the value."""
        return value

    async def scalars(  # noqa: PLR0913, PLR0917 - as the interface
        self,
        text: str,
        number: int,
        ratio: float,
        flag: bool,  # noqa: FBT001
        amount: Decimal,
        when: dt.datetime,
        day: dt.date,
        lasts: dt.timedelta,
        id: UUID,  # noqa: A002
        colour: Colour,
        level: Level,
        blob: bytes,
    ) -> Scalars:
        """Return the arguments."""
        return Scalars(text, number, ratio, flag, amount, when, day, lasts, id, colour, level, blob)

    async def places(self, first: str, second: int, third: str) -> list[str]:
        """Return the arguments as text."""
        return [first, str(second), third]

    async def lists(
        self, numbers: list[int], names: set[str], amounts: list[Decimal] | None
    ) -> tuple[list[int], list[str], list[Decimal] | None]:
        """Return the arguments, with sorted names."""
        return numbers, sorted(names), amounts

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
        return Chosen(first, second, third, list(fourth), fifth, sixth)

    async def nothing(self) -> None:
        """Return nothing."""

    async def maybe(self, *, found: bool) -> Tree | None:
        """Return a tree, or None."""
        return Tree("found") if found else None

    async def buy(self, what: str) -> None:
        """Raise a declared exception, by its name."""
        if what == "stock":
            raise out_of_stock()
        raise Overdrawn(ACCOUNT, missing=Decimal("0.01"))

    async def missing(self, key: int) -> str:
        """Raise a NOT_FOUND with details."""
        raise MeshError(
            Code.NOT_FOUND, f"nothing has the key {key}", details={"key": key, "near": [key - 1]}, retry_after=0.5
        )

    async def forbidden(self) -> None:
        """Raise a PERMISSION_DENIED."""
        raise MeshError(Code.PERMISSION_DENIED, "not for you")

    async def crash(self) -> str:
        """Raise an undeclared exception."""
        raise RuntimeError(SECRET)

    async def lie(self) -> int:
        """Return a text, which is not what the interface declares."""
        return cast("int", SECRET)

    async def count(self, number: int) -> int:
        """Return the number plus one."""
        return number + 1

    async def meet(self, number: int, of: int) -> int:
        """Return when so many calls have come."""
        self._here += 1
        if self._here == of:
            self._complete.set()
        await self._complete.wait()
        return number

    async def hold(self, name: str) -> None:
        """Never return."""
        self.begun[name].set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled[name].set()
            raise

    async def large(self, size: int) -> str:
        """Return so many characters."""
        return "x" * size

    async def remaining(self) -> float:
        """Return the seconds until the deadline."""
        return ambient_deadline.get() - time.monotonic()

    async def header(self) -> str:
        """Return the header of the call."""
        return _header.get()


@implementation()
class ConformanceComponentImpl(AbstractComponent, ConformanceComponent):
    """Announces nothing: the client of the kit has a fixed registry."""

    def get_addresses(self, base_url: str) -> list[ChannelAddress]:  # noqa: ARG002
        """Return no address."""
        return []


@module()
class ConformanceModule:
    """Serves the service."""

    @create()
    def interceptors(self) -> Interceptors:
        """Provide the interceptor."""
        return Interceptors(server=[read_header])
