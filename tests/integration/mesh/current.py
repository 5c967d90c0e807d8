"""A service that tells what it knows of the call that it serves, wherever in it that is asked."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import abstractmethod
from dataclasses import dataclass
from math import isinf
from typing import Annotated

from meshcore import (
    AbstractComponent,
    Code,
    Component,
    Mesh,
    MeshError,
    Service,
    component,
    current_call,
    get,
    idempotent,
    implementation,
    inject_service,
    injectable,
    module,
    post,
    put,
    raises,
    rest,
    service,
)


@dataclass
class Seen:
    """What `current_call` said."""

    method: str
    user: str
    seconds: float
    peer: str
    component: str
    attempt: int = 1
    bounded: bool = True
    thread: bool = False


def look() -> Seen:
    """What the current call says, in plain data."""
    call = current_call()
    seconds = call.deadline - time.monotonic()
    return Seen(
        str(call.method),
        call.headers.get("x-user", ""),
        0.0 if isinf(seconds) else seconds,
        call.peer,
        call.component,
        call.attempt,
        not isinf(seconds),
        threading.current_thread() is not threading.main_thread(),
    )


@dataclass
class Denied(Exception):
    why: str


@service()
@rest("/looking")
class Looking(Service):
    @abstractmethod
    @post("/here")
    async def here(self) -> Seen: ...

    @abstractmethod
    @post("/below")
    async def below(self) -> list[Seen]: ...

    @abstractmethod
    @post("/detached")
    async def detached(self) -> Seen: ...

    @abstractmethod
    @post("/task")
    async def task(self) -> Seen: ...


@service()
@rest("/in-thread")
class InThread(Service):
    @abstractmethod
    @post("/here")
    def here(self) -> list[Seen]: ...


@service()
@rest("/in-request")
class InRequest(Service):
    @abstractmethod
    @post("/here")
    async def here(self) -> Seen: ...


@service()
@rest("/counters")
class Counters(Service):
    @abstractmethod
    @get("/{name}")
    async def read(self, name: str, factor: int = 1) -> list[int]: ...

    @abstractmethod
    @put("/{name}")
    async def add(self, name: str) -> int: ...

    @abstractmethod
    @idempotent
    async def deny(self, name: str) -> int: ...

    @abstractmethod
    @raises(Denied)
    async def refuse(self, name: str) -> int: ...


@component(name="looking", services=[Looking, InThread, InRequest, Counters])
class LookingComponent(Component): ...


@injectable(scope="request")
class Asker:
    def __init__(self) -> None:
        self.seen = look()


@implementation(scope="request")
class InRequestImpl(InRequest):
    def __init__(self, asker: Asker) -> None:
        self.asker = asker

    async def here(self) -> Seen:
        return self.asker.seen


@implementation()
class LookingImpl(Looking):
    def __init__(self, in_request: Annotated[InRequest, inject_service()]) -> None:
        self.in_request = in_request

    async def here(self) -> Seen:
        return look()

    async def below(self) -> list[Seen]:
        return [look(), await self.in_request.here(), look()]

    async def detached(self) -> Seen:
        async def later() -> Seen:
            await asyncio.sleep(0)
            return look()

        with Mesh.detached():
            task = asyncio.create_task(later())
        return await task

    async def task(self) -> Seen:
        return (await asyncio.gather(asyncio.to_thread(look), self.here()))[0]


@implementation()
class InThreadImpl(InThread):
    def here(self) -> list[Seen]:
        with Mesh.detached():
            detached = look()
        return [look(), detached]


@implementation()
class CountersImpl(Counters):
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.reads = 0

    async def read(self, name: str, factor: int = 1) -> list[int]:
        self.reads += 1
        return [self.counts.get(name, 0) * factor]

    async def add(self, name: str) -> int:
        self.counts[name] = self.counts.get(name, 0) + 1
        return self.counts[name]

    async def deny(self, name: str) -> int:
        self.reads += 1
        raise MeshError(Code.NOT_FOUND, f"no {name}")

    async def refuse(self, name: str) -> int:
        raise Denied(name)


@implementation()
class LookingComponentImpl(AbstractComponent, LookingComponent): ...


@module()
class LookingModule: ...
