"""Interceptors on both sides, and an implementation that lives for one request."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import msgspec

from meshcore import (
    AbstractComponent,
    AuthorizationError,
    Call,
    Code,
    Component,
    Handler,
    Interceptors,
    Service,
    component,
    create,
    implementation,
    injectable,
    module,
    on_destroy,
    service,
)
from tests.integration.mesh.intercepted_client import ClientInterceptors


@service()
class Notes(Service):
    @abstractmethod
    async def add(self, text: str) -> list[str]: ...

    @abstractmethod
    def add_blocking(self, text: str) -> list[str]: ...

    @abstractmethod
    async def fail(self) -> None: ...


@component(services=[Notes])
class NotesComponent(Component): ...


@injectable()
class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []


@injectable(scope="request")
class Transaction:
    def __init__(self, log: Log) -> None:
        self.log = log
        self.texts: list[str] = []

    @on_destroy
    async def commit(self) -> None:
        self.log.lines.append(f"commit {self.texts}")


@implementation(scope="request")
class NotesImpl(Notes):
    def __init__(self, transaction: Transaction, same: Transaction) -> None:
        assert transaction is same
        self.transaction = transaction

    async def add(self, text: str) -> list[str]:
        self.transaction.texts.append(text)
        return self.transaction.texts

    def add_blocking(self, text: str) -> list[str]:
        self.transaction.texts.append(text)
        return self.transaction.texts

    async def fail(self) -> None:
        self.transaction.texts.append("failed")
        raise KeyError("no")


@implementation()
class NotesComponentImpl(AbstractComponent, NotesComponent): ...


async def check_user(handler: Handler, call: Call) -> Any:
    """Refuse calls of nobody, and say on whose behalf a note is."""
    user = call.headers.get("x-user")
    if user is None:
        raise AuthorizationError(Code.UNAUTHENTICATED, "who are you?")
    arguments = tuple(f"{user}: {text}" for text in call.arguments)
    return await handler(msgspec.structs.replace(call, arguments=arguments))


@module(imports=[ClientInterceptors])
class NotesModule:
    @create()
    def interceptors(self) -> Interceptors:
        return Interceptors(server=[check_user])
