"""A server in this process whose real requests and answers the page of the wire shows."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from meshcore import (
    AbstractComponent,
    AuthorizationError,
    Code,
    Component,
    MeshApp,
    MeshError,
    Service,
    component,
    get,
    health,
    implementation,
    module,
    post,
    raises,
    rest,
    service,
)


@dataclass
class OutOfStock(Exception):
    code: ClassVar[Code] = Code.FAILED_PRECONDITION
    sku: str
    left: int

    def __str__(self) -> str:
        return f"{self.left} of {self.sku} left"


@service()
@rest("/orders")
class Orders(Service):
    @abstractmethod
    @post("/{sku}", status=201)
    @raises(OutOfStock)
    async def order(self, sku: str, count: int = 1) -> float: ...

    @abstractmethod
    @get("/{sku}/price")
    async def price(self, sku: str) -> float: ...


@component(services=[Orders])
class OrdersComponent(Component): ...


@implementation()
class OrdersImpl(Orders):
    async def order(self, sku: str, count: int = 1) -> float:
        if sku == "unicorn":
            raise OutOfStock(sku, 0)
        return 0.5 * count

    async def price(self, sku: str) -> float:
        if sku == "secret":
            raise AuthorizationError(Code.UNAUTHENTICATED, "who are you?")
        raise MeshError(Code.RESOURCE_EXHAUSTED, "too many questions", retry_after=2.0)


@implementation()
@health("/orders/health")
class OrdersComponentImpl(AbstractComponent, OrdersComponent): ...


@module()
class OrdersModule: ...


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(app: MeshApp, verb: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    """Send one request to an application in this process, as an ASGI server does."""
    path, _, query = target.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": verb,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
    }
    sent: list[MutableMapping[str, Any]] = []

    received: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        if not received:
            await asyncio.Event().wait()  # the client stays
        return received.pop()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))
