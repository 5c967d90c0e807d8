"""A service that says who calls it, unary, streaming and by REST; and a client with a context of its own."""

from __future__ import annotations

import ssl
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import ClassVar

import aiohttp

from meshcore import (
    AbstractComponent,
    Component,
    Invocation,
    Service,
    advice,
    around,
    component,
    current_call,
    get,
    health,
    idempotent,
    implementation,
    methods,
    module,
    rest,
    service,
)
from meshcore.channels import HTTPChannel


@service()
@rest("/api")
class Who(Service):
    @get("/who")
    @idempotent
    @abstractmethod
    async def calls(self) -> str: ...

    @get("/each/{count}")
    @abstractmethod
    def each(self, count: int) -> AsyncIterator[str]: ...


@component(services=[Who])
class WhoComponent(Component): ...


def caller() -> str:
    """Who calls, as this call knows it."""
    found = current_call().caller
    return f"{found.proof} {found.component} {found.identity}".rstrip()


@implementation()
class WhoImpl(Who):
    async def calls(self) -> str:
        return caller()

    async def each(self, count: int) -> AsyncIterator[str]:
        for _ in range(count):
            yield caller()


@implementation()
@health("/health")
class WhoComponentImpl(AbstractComponent, WhoComponent): ...


@module()
class WhoModule: ...


@advice
class OwnContext:
    context: ClassVar[ssl.SSLContext]

    @around(methods().named("make_session").of_type(HTTPChannel))
    def make_session(self, invocation: Invocation) -> object:
        connector = aiohttp.TCPConnector(ssl=self.context, limit=0, keepalive_timeout=3.0)
        return invocation.proceed(connector=connector)


@module(components=[WhoComponent])
class WhoClient:
    pass
