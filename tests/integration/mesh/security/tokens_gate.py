"""The gate, which calls the vault."""

from __future__ import annotations

from collections.abc import AsyncIterator

from meshcore import AbstractComponent, current_call, implementation, module
from tests.integration.mesh.security.tokens import Gate, GateComponent, Seen, Vault, VaultComponent, seen


@implementation()
class GateImpl(Gate):
    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.added = 0

    async def who(self) -> Seen:
        return seen()

    async def add(self, number: int) -> int:
        self.added += number
        return self.added

    async def count(self, end: int) -> AsyncIterator[str]:
        for number in range(end):
            yield f"{number} for {current_call().claims.get('sub', 'nobody')}"

    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    async def below(self) -> list[Seen]:
        return [await self.vault.mine(), await self.vault.plain(), *[each async for each in self.vault.stream()]]


@implementation()
class GateComponentImpl(AbstractComponent, GateComponent): ...


@module(components=[VaultComponent])
class GateModule: ...
