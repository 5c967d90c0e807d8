"""Two services in a row: the middle one is called in each form, and calls the last one.

That tells what it was called with.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from meshcore import (
    AbstractComponent,
    Code,
    Component,
    Mesh,
    MeshError,
    Service,
    Settings,
    blocking,
    component,
    create,
    current_call,
    get,
    idempotent,
    implementation,
    in_thread,
    module,
    post,
    raises,
    rest,
    service,
)
from meshcore.core.context.current_call import TRACE_HEADERS, ambient_trace
from meshcore.testing import MemoryMesh, memory_mesh

log = logging.getLogger("tests.relay")

HERMETIC = Settings(registry="local:", adaptive_limit=False)


class UnfitError(Exception):
    """Declared by the interface."""


@service()
@rest("/last")
class Last(Service):
    @get("/told")
    @abstractmethod
    async def told(self) -> dict[str, str]:
        """The headers of the trace that it was called with, or that surrounds it in one process."""


@service()
@rest("/middle")
class Middle(Service):
    @get("/ask")
    @abstractmethod
    async def ask(self) -> dict[str, str]: ...

    @get("/ask-in-thread")
    @abstractmethod
    async def ask_in_thread(self) -> dict[str, str]: ...

    @get("/ask-twice")
    @abstractmethod
    async def ask_twice(self) -> AsyncIterator[dict[str, str]]:
        yield {}

    @post("/take")
    @abstractmethod
    async def take(self, texts: AsyncIterator[str]) -> dict[str, str]: ...

    @get("/fail")
    @idempotent
    @raises(UnfitError)
    @abstractmethod
    async def fail(self, how: str) -> str: ...

    @get("/log")
    @abstractmethod
    async def log(self, how: str) -> None: ...

    @get("/endless")
    @abstractmethod
    async def endless(self) -> AsyncIterator[int]:
        yield 0


@component(services=[Last])
class LastComponent(Component): ...


@component(services=[Middle])
class MiddleComponent(Component): ...


@implementation()
class LastImpl(Last):
    async def told(self) -> dict[str, str]:
        log.info("told")
        headers = current_call().headers
        found = {name: headers[name] for name in TRACE_HEADERS if name in headers}
        return found or dict(ambient_trace.get() or {})


@implementation()
class LastComponentImpl(AbstractComponent, LastComponent): ...


@module()
class LastModule: ...


class Link:
    """How the middle one reaches the last one."""

    def __init__(self, last: Last | None = None) -> None:
        self.last = last


class MiddleBase(Middle):
    def __init__(self, link: Link) -> None:
        self.link = link

    @property
    def last(self) -> Last:
        assert self.link.last is not None
        return self.link.last

    async def ask(self) -> dict[str, str]:
        return await self.last.told()

    @in_thread
    def ask_in_thread(self) -> dict[str, str]:
        return blocking(self.last.told)()

    async def ask_twice(self) -> AsyncIterator[dict[str, str]]:
        yield await self.last.told()
        yield await self.last.told()

    async def take(self, texts: AsyncIterator[str]) -> dict[str, str]:
        async for _ in texts:
            pass
        return await self.last.told()

    async def fail(self, how: str) -> str:
        log.info("it fails")
        match how:
            case "declared":
                raise UnfitError(how)
            case "refused":
                raise MeshError(Code.NOT_FOUND, "there is no such thing")
            case "late":
                await asyncio.sleep(60)
        raise ValueError(how)

    async def log(self, how: str) -> None:
        if how == "thread":
            await asyncio.to_thread(log.info, "logged")
            return
        log.info("logged")
        if how == "nested":
            async with Mesh(LastModule, settings=HERMETIC) as mesh:
                await (await mesh.get_service(Last)).told()

    async def endless(self) -> AsyncIterator[int]:
        at = 0
        while True:
            yield at
            at += 1


def middle_module() -> type:
    """The module of the middle one; an implementation of its own for each, since a test may run several."""

    @implementation()
    class MiddleImpl(MiddleBase): ...

    @implementation()
    class MiddleComponentImpl(AbstractComponent, MiddleComponent): ...

    @module(provides=[MiddleImpl, MiddleComponentImpl])
    class MiddleModule:
        @create()
        def link(self) -> Link:
            return Link()

    return MiddleModule


@asynccontextmanager
async def relay(channel: str, settings: Settings = HERMETIC, **options: object) -> AsyncGenerator[MemoryMesh]:
    """The middle one, which reaches the last one over the same channel, in another server."""
    async with AsyncExitStack() as stack:
        last = await stack.enter_async_context(memory_mesh(LastModule, channel=channel, settings=settings))
        link = Link(await last.get_service(Last))
        mesh = memory_mesh(middle_module(), channel=channel, settings=settings, overrides={Link: link}, **options)
        yield await stack.enter_async_context(mesh)


@asynccontextmanager
async def relay_in_process(settings: Settings = HERMETIC) -> AsyncGenerator[Mesh]:
    """Both in one process, without a channel between them."""
    link = Link()

    @module(imports=[LastModule, middle_module()])
    class Both: ...

    async with Mesh(Both, settings=settings, overrides={Link: link}) as mesh:
        link.last = await mesh.get_service(Last)
        yield mesh
