"""A service that tells whose token came with a call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator

from meshcore import (
    AbstractComponent,
    Component,
    Service,
    component,
    current_call,
    get,
    implementation,
    module,
    service,
)


@service()
class Vault(Service):
    @get("/vault")
    @abstractmethod
    async def read(self) -> str: ...

    @get("/vault/all")
    @abstractmethod
    def all(self) -> AsyncIterator[str]: ...


@component(services=[Vault])
class VaultComponent(Component): ...


@implementation()
class VaultImpl(Vault):
    async def read(self) -> str:
        return str(current_call().claims["sub"])

    async def all(self) -> AsyncIterator[str]:
        yield str(current_call().claims["sub"])


@implementation()
class VaultComponentImpl(AbstractComponent, VaultComponent): ...


@module()
class VaultModule: ...
