"""A service whose code ends its process wherever code of a user runs; served by real processes in tests."""

from __future__ import annotations

import asyncio
import sys
from abc import abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, field_validator

from meshcore import (
    AbstractComponent,
    Body,
    Call,
    Component,
    Handler,
    HealthCheckManager,
    Interceptors,
    Invocation,
    Mesh,
    Service,
    advice,
    around,
    component,
    create,
    current_call,
    health,
    health_check,
    health_checks,
    idempotency_key,
    idempotent,
    implementation,
    methods,
    module,
    post,
    rest,
    service,
)


class PanicError(BaseException):
    """As extensions in Rust raise it."""


def leave(how: str) -> None:
    """End the process, or at least this code, in one of the ways."""
    match how:
        case "exit":
            sys.exit(2)
        case "interrupt":
            raise KeyboardInterrupt
        case "generator":
            raise GeneratorExit
        case "cancel":
            raise asyncio.CancelledError
        case "group":
            raise BaseExceptionGroup("several", [PanicError()])
        case _:
            raise PanicError(how)


WAYS = ("exit", "interrupt", "generator", "cancel", "group", "panic")


@dataclass
class Checked:
    how: str

    def __post_init__(self) -> None:
        if self.how in WAYS:
            leave(self.how)


class Modelled(BaseModel):
    how: str

    @field_validator("how")
    @classmethod
    def check(cls, how: str) -> str:
        leave(how)
        return how


@service()
@rest("/exiting")
class Exiting(Service):
    @post("/here")
    @idempotent
    @abstractmethod
    async def here(self, how: Body[str]) -> None: ...

    @post("/thread")
    @idempotent
    @abstractmethod
    def in_thread(self, how: Body[str]) -> None: ...

    @post("/tasks")
    @idempotent
    @abstractmethod
    async def in_task(self, how: Body[str]) -> None: ...

    @post("/waiting")
    @idempotent
    @abstractmethod
    async def in_task_with_timeout(self, how: Body[str]) -> None: ...

    @post("/background")
    @abstractmethod
    async def in_background(self, how: Body[str]) -> None: ...

    @post("/interceptor")
    @idempotent
    @abstractmethod
    async def in_interceptor(self, how: Body[str]) -> None: ...

    @post("/advice")
    @idempotent
    @abstractmethod
    async def in_advice(self, how: Body[str]) -> None: ...

    @post("/local")
    @idempotent
    @abstractmethod
    def in_local_call(self, how: Body[str]) -> None: ...

    @post("/keyed")
    @idempotency_key()
    @abstractmethod
    async def keyed(self, how: Body[str]) -> None: ...

    @post("/argument")
    @idempotent
    @abstractmethod
    async def in_argument(self, value: Body[Checked]) -> None: ...

    @post("/model")
    @idempotent
    @abstractmethod
    async def in_model(self, value: Body[dict[str, Any]]) -> Modelled: ...

    @post("/executed")
    @abstractmethod
    async def executed(self) -> int: ...


@service()
@rest("/session")
class InSession(Service):
    @post("/begin")
    @abstractmethod
    async def at_begin(self, how: Body[str]) -> None: ...

    @post("/end")
    @abstractmethod
    async def at_end(self, how: Body[str]) -> None: ...


@service()
class Beside(Service):
    @abstractmethod
    def leave(self, how: str) -> None: ...


@component(name="exiting", services=[Exiting, InSession, Beside])
class ExitingComponent(Component): ...


class Session:
    """What ends with a call."""


@implementation()
class ExitingImpl(Exiting):
    def __init__(self, beside: Beside) -> None:
        self.beside = beside
        self.count = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def executed(self) -> int:
        return self.count

    async def here(self, how: str) -> None:
        self.count += 1
        leave(how)

    def in_thread(self, how: str) -> None:
        self.count += 1
        leave(how)

    async def in_task(self, how: str) -> None:
        await asyncio.gather(asyncio.sleep(0), self.here(how))

    async def in_task_with_timeout(self, how: str) -> None:
        await asyncio.wait_for(self.here(how), 10)

    async def in_background(self, how: str) -> None:
        with Mesh.detached():
            task = asyncio.create_task(self.here(how))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        await asyncio.wait([task])
        error = None if task.cancelled() else task.exception()
        raise RuntimeError("the task has failed") from error

    async def in_interceptor(self, how: str) -> None:
        raise AssertionError

    async def in_advice(self, how: str) -> None:
        raise AssertionError

    def in_local_call(self, how: str) -> None:
        self.count += 1
        self.beside.leave(how)

    async def keyed(self, how: str) -> None:
        self.count += 1
        leave(how)

    async def in_argument(self, value: Checked) -> None:
        raise AssertionError

    async def in_model(self, value: dict[str, Any]) -> Modelled:
        self.count += 1
        return Modelled.model_construct(**value)


@implementation()
class BesideImpl(Beside):
    async def leave(self, how: str) -> None:  # type: ignore[override]
        leave(how)


@implementation(scope="request")
class InSessionImpl(InSession):
    def __init__(self, session: Session) -> None:
        self.session = session

    async def at_begin(self, how: str) -> None:
        raise AssertionError

    async def at_end(self, how: str) -> None:
        pass


@advice
class Advice:
    @around(methods().named("in_advice"))
    def before(self, invocation: Invocation) -> object:
        leave(invocation.args[1])
        return invocation.proceed()


@health_checks()
class Checks:
    @health_check()
    async def in_loop(self, result: HealthCheckManager.Result) -> None:
        leave("exit")

    @health_check()
    def in_thread(self, result: HealthCheckManager.Result) -> None:
        leave("panic")

    @health_check()
    async def in_task(self, result: HealthCheckManager.Result) -> None:
        async def leave_later() -> None:
            leave("exit")

        await asyncio.gather(leave_later(), asyncio.sleep(0))


@implementation()
@health("/exiting-health")
class ExitingComponentImpl(AbstractComponent, ExitingComponent):
    async def shutdown(self) -> None:
        leave("exit")


async def interceptor(handler: Handler, call: Call) -> Any:
    """End at the calls that say so."""
    if call.method.name == "in_interceptor":
        leave(call.arguments[0])
    return await handler(call)


@module()
class ExitingModule:
    @create()
    def interceptors(self) -> Interceptors:
        return Interceptors(server=[interceptor])

    @create(scope="request")
    async def session(self) -> AsyncIterator[Session]:
        call = current_call()
        if call.method.name == "at_begin":
            leave(call.headers["x-how"])
        yield Session()
        if call.method.name == "at_end":
            leave(call.headers["x-how"])
