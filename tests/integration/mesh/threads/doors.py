"""Interfaces and implementations, sync and async in all four combinations, and calls from one into the other."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from abc import abstractmethod
from contextvars import ContextVar

from meshcore import AbstractComponent, Component, Service, component, implementation, module, service
from meshcore.core.call import ambient_deadline

USER: ContextVar[str] = ContextVar("USER", default="nobody")


def here(text: str) -> str:
    """The text, the process, whether a loop runs in this thread, and the context variable."""
    return f"{text} {os.getpid()} {'loop' if asyncio._get_running_loop() else 'thread'} {USER.get()}"


@service()
class SyncBySync(Service):
    @abstractmethod
    def ask(self, text: str) -> str: ...

    def ask_twice(self, text: str) -> str:
        """A helper, which runs at the caller."""
        return f"{self.ask(text)}, {self.ask(text)}"


@service()
class SyncByAsync(Service):
    @abstractmethod
    def ask(self, text: str) -> str: ...


@service()
class AsyncBySync(Service):
    @abstractmethod
    async def ask(self, text: str) -> str: ...


@service()
class AsyncByAsync(Service):
    @abstractmethod
    async def ask(self, text: str) -> str: ...

    async def ask_twice(self, text: str) -> str:
        """A helper, which runs at the caller."""
        return f"{await self.ask(text)}, {await self.ask(text)}"


@service()
class Inner(Service):
    """Is called by `Outer`, blocking."""

    @abstractmethod
    def where(self, text: str) -> str: ...

    @abstractmethod
    def remaining(self) -> float: ...

    @abstractmethod
    def wait(self) -> None: ...

    @abstractmethod
    def history(self) -> list[str]: ...


@service()
class Outer(Service):
    @abstractmethod
    async def where(self, text: str) -> str: ...

    @abstractmethod
    async def remaining(self) -> float: ...

    @abstractmethod
    async def wait(self) -> None: ...

    @abstractmethod
    async def stop_iteration(self) -> None: ...


@component(services=[SyncBySync, SyncByAsync, AsyncBySync, AsyncByAsync, Inner, Outer])
class Doors(Component): ...


@implementation()
class SyncBySyncImpl(SyncBySync):
    def ask(self, text: str) -> str:
        return here(text)


@implementation()
class SyncByAsyncImpl(SyncByAsync):
    async def ask(self, text: str) -> str:  # type: ignore[override] # either kind may implement either
        await asyncio.sleep(0)
        return here(text)


@implementation()
class AsyncBySyncImpl(AsyncBySync):
    def ask(self, text: str) -> str:  # type: ignore[override]
        return here(text)


@implementation()
class AsyncByAsyncImpl(AsyncByAsync):
    async def ask(self, text: str) -> str:
        await asyncio.sleep(0)
        return here(text)


@implementation()
class InnerImpl(Inner):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def where(self, text: str) -> str:  # type: ignore[override]
        return here(text)

    async def remaining(self) -> float:  # type: ignore[override]
        return ambient_deadline.get() - time.monotonic()

    async def wait(self) -> None:  # type: ignore[override]
        self.seen.append("waiting")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise

    async def history(self) -> list[str]:  # type: ignore[override]
        return list(self.seen)


@implementation()
class OuterImpl(Outer):
    """Blocks worker threads in calls of a `def` interface."""

    def __init__(self, inner: Inner) -> None:
        self.inner = inner
        self.left = threading.Event()
        self.error: Exception | None = None

    def where(self, text: str) -> str:  # type: ignore[override]
        return f"{here(text)} > {self.inner.where(text)}"

    def remaining(self) -> float:  # type: ignore[override]
        return self.inner.remaining()

    def wait(self) -> None:  # type: ignore[override]
        try:
            self.inner.wait()
        except Exception as error:
            self.error = error
            raise
        finally:
            self.left.set()

    def stop_iteration(self) -> None:  # type: ignore[override]
        next(iter(()))


@implementation()
class DoorsImpl(AbstractComponent, Doors): ...


@module()
class DoorsModule: ...
