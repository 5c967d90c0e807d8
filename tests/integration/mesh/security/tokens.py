"""The interfaces of a gate that users call with tokens, and of a vault behind it that the gate calls for them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from meshcore import (
    Component,
    Interceptors,
    Service,
    TokenVerifier,
    component,
    create,
    current_call,
    get,
    module,
    pass_token,
    post,
    rest,
    service,
)

Seen = dict[str, str]


def seen() -> Seen:
    """What an implementation knows of its caller."""
    call = current_call()
    return {
        "subject": str(call.claims.get("sub", "")),
        "token": call.headers.get("authorization", ""),
        "tenant": call.headers.get("x-tenant", ""),
        "component": call.caller.component,
    }


@service()
@rest("/vault")
class Vault(Service):
    @abstractmethod
    @pass_token
    @get("/mine")
    async def mine(self) -> Seen: ...

    @abstractmethod
    @get("/plain")
    async def plain(self) -> Seen: ...

    @abstractmethod
    @pass_token
    def stream(self) -> AsyncIterator[Seen]: ...


@component(services=[Vault])
class VaultComponent(Component): ...


@service()
@rest("/gate")
class Gate(Service):
    @abstractmethod
    @get("/who")
    async def who(self) -> Seen: ...

    @abstractmethod
    @post("/add")
    async def add(self, number: int) -> int: ...

    @abstractmethod
    def count(self, end: int) -> AsyncIterator[str]: ...

    @abstractmethod
    async def total(self, numbers: AsyncIterator[int]) -> int: ...

    @abstractmethod
    @get("/below")
    async def below(self) -> list[Seen]: ...


@component(services=[Gate])
class GateComponent(Component): ...


def with_parts(base: list[type], *verifiers: TokenVerifier, client: Any = ()) -> type:
    """A module with verifiers of tokens and interceptors of clients."""
    members: dict[str, Any] = {"__module__": "tests.nowhere"}

    def interceptors(_: object) -> Interceptors:
        return Interceptors(client=list(client))

    if client:
        members["interceptors"] = create()(interceptors)
    for number, verifier in enumerate(verifiers):
        members[f"verifier_{number}"] = create()(_bound(verifier))
    return module(imports=base)(type("WithParts", (), members))


def _bound(verifier: TokenVerifier) -> Any:
    def make(_: object) -> TokenVerifier:
        return verifier

    return make
