"""The vault, which says what it knows of its caller."""

from __future__ import annotations

from collections.abc import AsyncIterator

from meshcore import AbstractComponent, implementation, module
from tests.integration.mesh.security.tokens import Seen, Vault, VaultComponent, seen


@implementation()
class VaultImpl(Vault):
    async def mine(self) -> Seen:
        return seen()

    async def plain(self) -> Seen:
        return seen()

    async def stream(self) -> AsyncIterator[Seen]:
        yield seen()


@implementation()
class VaultComponentImpl(AbstractComponent, VaultComponent): ...


@module()
class VaultModule: ...
