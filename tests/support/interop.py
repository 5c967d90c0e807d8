"""The contract of tests/aspyx, said in meshcore's words: each side serves it to the other's client."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from pydantic import BaseModel

from meshcore import (
    AbstractComponent,
    Body,
    Component,
    Service,
    component,
    get,
    implementation,
    module,
    post,
    raises,
    rest,
    service,
)


@dataclass
class Tag:
    label: str
    weight: float


@dataclass
class Item:
    name: str
    count: int
    price: float
    active: bool
    labels: list[str]
    main: Tag
    tags: list[Tag]
    note: str | None
    spare: Tag | None


class Address(BaseModel):
    street: str
    number: int


class Person(BaseModel):
    name: str
    age: int
    score: float
    active: bool
    emails: list[str]
    address: Address
    others: list[Address]
    nickname: str | None


@service(name="interop-sync")
@rest("/sync")
class SyncInterop(Service):
    @abstractmethod
    @get("/hello/{message}")
    def hello(self, message: str) -> str: ...

    @abstractmethod
    @post("/item")
    def echo_item(self, item: Body[Item]) -> Item: ...

    @abstractmethod
    @post("/person")
    def echo_person(self, person: Body[Person]) -> Person: ...

    @abstractmethod
    @get("/add")
    def add(self, a: int, b: int) -> int: ...

    @abstractmethod
    @get("/fail/{reason}")
    @raises(ValueError)
    def fail(self, reason: str) -> str: ...


@service(name="interop-async")
@rest("/async")
class AsyncInterop(Service):
    @abstractmethod
    @get("/hello/{message}")
    async def hello(self, message: str) -> str: ...

    @abstractmethod
    @post("/item")
    async def echo_item(self, item: Body[Item]) -> Item: ...

    @abstractmethod
    @post("/person")
    async def echo_person(self, person: Body[Person]) -> Person: ...

    @abstractmethod
    @get("/add")
    async def add(self, a: int, b: int) -> int: ...

    @abstractmethod
    @get("/fail/{reason}")
    @raises(ValueError)
    async def fail(self, reason: str) -> str: ...


@component(name="interop-component", services=[SyncInterop, AsyncInterop])
class InteropComponent(Component): ...


@implementation()
class SyncInteropImpl(SyncInterop):
    def hello(self, message: str) -> str:
        return f"hello {message}"

    def echo_item(self, item: Item) -> Item:
        return item

    def echo_person(self, person: Person) -> Person:
        return person

    def add(self, a: int, b: int) -> int:
        return a + b

    def fail(self, reason: str) -> str:
        raise ValueError(reason)


@implementation()
class AsyncInteropImpl(AsyncInterop):
    async def hello(self, message: str) -> str:
        return f"hello {message}"

    async def echo_item(self, item: Item) -> Item:
        return item

    async def echo_person(self, person: Person) -> Person:
        return person

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def fail(self, reason: str) -> str:
        raise ValueError(reason)


@implementation()
class InteropComponentImpl(AbstractComponent, InteropComponent): ...


@module()
class InteropModule: ...
