"""A service for tests of connections with many calls: answers of any size, calls that last, and a record of them."""

from __future__ import annotations

import asyncio
import os
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass

from meshcore import (
    AbstractComponent,
    ChannelAddress,
    Component,
    Service,
    component,
    current_call,
    idempotent,
    implementation,
    module,
    service,
)

CHANNELS = ("stream-msgpack", "dispatch-msgpack")


@dataclass
class Facts:
    pid: int
    peer: str
    headers: dict[str, str]
    left: float
    attempt: int


@service()
class Depot(Service):
    @abstractmethod
    @idempotent
    async def echo(self, text: str) -> str: ...

    @abstractmethod
    @idempotent
    async def facts(self) -> Facts: ...

    @abstractmethod
    @idempotent
    async def large(self, size: int) -> bytes: ...

    @abstractmethod
    def count(self, end: int) -> AsyncIterator[int]: ...

    @abstractmethod
    async def hold(self, name: str, seconds: float) -> int: ...

    @abstractmethod
    @idempotent
    async def held(self, name: str) -> tuple[int, int, int]: ...


@component(services=[Depot])
class DepotComponent(Component): ...


@implementation()
class DepotImpl(Depot):
    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}

    async def echo(self, text: str) -> str:
        return text

    async def facts(self) -> Facts:
        call = current_call()
        return Facts(os.getpid(), call.peer, dict(call.headers), call.deadline - time.monotonic(), call.attempt)

    async def large(self, size: int) -> bytes:
        return bytes(size)

    async def count(self, end: int) -> AsyncIterator[int]:
        for number in range(end):
            yield number

    async def hold(self, name: str, seconds: float) -> int:
        counts = self.counts.setdefault(name, [0, 0, 0])
        counts[0] += 1
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            counts[1] += 1
            raise
        counts[2] += 1
        return os.getpid()

    async def held(self, name: str) -> tuple[int, int, int]:
        """How many calls of `hold` with that name have begun, were cancelled, and have ended."""
        begun, cancelled, ended = self.counts.get(name, [0, 0, 0])
        return begun, cancelled, ended


@implementation()
class DepotComponentImpl(AbstractComponent, DepotComponent):
    def get_addresses(self, base_url: str) -> list[ChannelAddress]:
        return [ChannelAddress(name, base_url) for name in CHANNELS]


@module()
class DepotModule: ...
