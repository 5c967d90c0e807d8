"""The interop contract, said in aspyx's words; it runs only in the environment of aspyx-service.

No `from __future__ import annotations` in this file: aspyx reads the types of dataclass fields and of REST
parameters as they stand, and strings would silently switch its conversion off.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Optional

from aspyx_service import Component, Service, component, get, post, rest, service
from aspyx_service.restchannel import BodyMarker
from pydantic import BaseModel


@dataclass
class Tag:
    """The inner dataclass."""

    label: str
    weight: float


@dataclass
class Item:
    """The outer dataclass. `Optional[Tag]` is meant: of `Tag | None` aspyx converts nothing."""

    name: str
    count: int
    price: float
    active: bool
    labels: list[str]
    main: Tag
    tags: list[Tag]
    note: Optional[str]  # noqa: UP045
    spare: Optional[Tag]  # noqa: UP045


class Address(BaseModel):
    """The inner pydantic model."""

    street: str
    number: int


class Person(BaseModel):
    """The outer pydantic model."""

    name: str
    age: int
    score: float
    active: bool
    emails: list[str]
    address: Address
    others: list[Address]
    nickname: Optional[str]  # noqa: UP045


@service(name="interop-sync", description="interop, blocking methods")
@rest("/sync")
class SyncInterop(Service):
    """The blocking interface."""

    @abstractmethod
    @get("/hello/{message}")
    def hello(self, message: str) -> str:
        """Answer `hello {message}`."""

    @abstractmethod
    @post("/item")
    def echo_item(self, item: Annotated[Item, BodyMarker()]) -> Item:
        """Answer the same dataclass."""

    @abstractmethod
    @post("/person")
    def echo_person(self, person: Annotated[Person, BodyMarker()]) -> Person:
        """Answer the same pydantic model."""

    @abstractmethod
    @get("/add")
    def add(self, a: int, b: int) -> int:
        """Answer the sum."""

    @abstractmethod
    @get("/fail/{reason}")
    def fail(self, reason: str) -> str:
        """Raise `ValueError(reason)`."""


@service(name="interop-async", description="interop, coroutine methods")
@rest("/async")
class AsyncInterop(Service):
    """The coroutine interface: the same methods as `SyncInterop`."""

    @abstractmethod
    @get("/hello/{message}")
    async def hello(self, message: str) -> str:
        """Answer `hello {message}`."""

    @abstractmethod
    @post("/item")
    async def echo_item(self, item: Annotated[Item, BodyMarker()]) -> Item:
        """Answer the same dataclass."""

    @abstractmethod
    @post("/person")
    async def echo_person(self, person: Annotated[Person, BodyMarker()]) -> Person:
        """Answer the same pydantic model."""

    @abstractmethod
    @get("/add")
    async def add(self, a: int, b: int) -> int:
        """Answer the sum."""

    @abstractmethod
    @get("/fail/{reason}")
    async def fail(self, reason: str) -> str:
        """Raise `ValueError(reason)`."""


@component(name="interop-component", description="interop", services=[SyncInterop, AsyncInterop])
class InteropComponent(Component):
    """Offers both services."""
