"""A service that shows what happens to its calls; served by real processes in tests."""

from __future__ import annotations

import asyncio
import os
import time
from abc import abstractmethod
from dataclasses import dataclass

from meshcore import (
    AbstractComponent,
    Code,
    Component,
    HealthCheckManager,
    HealthStatus,
    MeshError,
    Service,
    component,
    get,
    health,
    health_check,
    health_checks,
    idempotent,
    implementation,
    module,
    post,
    raises,
    rest,
    service,
)
from meshcore.core.call import ambient_deadline


@dataclass
class Refused(Exception):
    """A declared exception with fields."""

    reason: str
    left: int


@service()
@rest("/probe")
class Probe(Service):
    @abstractmethod
    @get("/pid")
    async def pid(self) -> int: ...

    @abstractmethod
    @post("/echo")
    async def echo(self, text: str) -> str: ...

    @abstractmethod
    @get("/sleep")
    async def sleep(self, seconds: float) -> int: ...

    @abstractmethod
    async def write(self, seconds: float) -> int: ...

    @abstractmethod
    async def cancelled(self) -> list[str]: ...

    @abstractmethod
    @raises(Refused)
    async def refuse(self, reason: str) -> None: ...

    @abstractmethod
    async def crash(self) -> None: ...

    @abstractmethod
    async def not_found(self) -> None: ...

    @abstractmethod
    async def wrong_type(self) -> int: ...

    @abstractmethod
    @idempotent
    async def remaining(self) -> float: ...


@service()
class Blocking(Service):
    @abstractmethod
    def work(self, seconds: float) -> int: ...


@component(name="probe", services=[Probe, Blocking])
class ProbeComponent(Component): ...


@implementation()
class ProbeImpl(Probe):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def pid(self) -> int:
        return os.getpid()

    async def echo(self, text: str) -> str:
        return text

    async def sleep(self, seconds: float) -> int:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.seen.append("sleep")
            raise
        return os.getpid()

    async def write(self, seconds: float) -> int:
        return await self.sleep(seconds)

    async def cancelled(self) -> list[str]:
        return self.seen

    async def refuse(self, reason: str) -> None:
        raise Refused(reason, 3)

    async def crash(self) -> None:
        raise RuntimeError("the secret of the server")

    async def not_found(self) -> None:
        raise MeshError(Code.NOT_FOUND, "no such thing", details={"id": 7})

    async def wrong_type(self) -> int:
        return "seven"  # type: ignore[return-value]

    async def remaining(self) -> float:
        return ambient_deadline.get() - time.monotonic()


@implementation()
class BlockingImpl(Blocking):
    def work(self, seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()


@health_checks()
class Checks:
    @health_check(name="disk")
    def disk(self, result: HealthCheckManager.Result) -> None:
        result.set_status(HealthStatus.WARNING, "nearly full")


@implementation()
@health("/probe-health")
class ProbeComponentImpl(AbstractComponent, ProbeComponent): ...


@module()
class ProbeModule: ...
