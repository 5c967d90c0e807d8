"""REST: a value in a path never makes it another method's, also where only the server knows the other one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import aiohttp
import pytest

from meshcore import (
    AbstractComponent,
    Code,
    Component,
    Header,
    LocalError,
    Mesh,
    MeshApp,
    RemoteError,
    Service,
    Settings,
    client_module,
    component,
    delete,
    get,
    health,
    implementation,
    module,
    rest,
    service,
)
from meshcore.testing.servers import served


@service()
class Sessions(Service):
    @get("/{name}")
    @abstractmethod
    async def named(self, name: str) -> str: ...

    @delete("/sessions/{name}")
    @abstractmethod
    async def end(self, name: str) -> str: ...

    @delete("/sessions/latest")
    @abstractmethod
    async def end_latest(self) -> str: ...

    @get("/accepting/{name}")
    @abstractmethod
    async def accepting(self, name: str, accept: Annotated[str | None, Header()] = None) -> list[str | None]: ...


@component(services=[Sessions])
class SessionsComponent(Component): ...


@service()
@rest("/sessions")
class Cleaning(Service):
    @delete("/all")
    @abstractmethod
    async def end_all(self) -> str: ...


@component(services=[Cleaning])
class CleaningComponent(Component): ...


@implementation()
class SessionsImpl(Sessions):
    async def named(self, name: str) -> str:
        return f"named {name}"

    async def end(self, name: str) -> str:
        return f"ended {name}"

    async def end_latest(self) -> str:
        return "ended the latest"

    async def accepting(self, name: str, accept: str | None = None) -> list[str | None]:
        return [name, accept]


@implementation()
class CleaningImpl(Cleaning):
    def __init__(self) -> None:
        self.ended = 0

    async def end_all(self) -> str:
        self.ended += 1
        return "ended all"


@implementation()
@health("/how-are-you")
class SessionsComponentImpl(AbstractComponent, SessionsComponent): ...


@implementation()
class CleaningComponentImpl(AbstractComponent, CleaningComponent): ...


@module(provides=[SessionsImpl, CleaningImpl, SessionsComponentImpl, CleaningComponentImpl])
class ServerModule: ...


@asynccontextmanager
async def sessions() -> AsyncGenerator[tuple[str, Sessions]]:
    """A server of both components: its URL, and a proxy of a client that knows only one of them."""

    def make(url: str) -> MeshApp:
        return MeshApp(ServerModule, settings=Settings(registry="local:", advertise_url=url))

    async with served(make) as url:
        settings = Settings(registry=f"static:sessions-component=rest({url})")
        async with Mesh(client_module(SessionsComponent), settings=settings) as mesh:
            yield url, await mesh.get_service(Sessions)


async def test_the_path_of_another_component_is_not_executed() -> None:
    """The client does not know `DELETE /sessions/all`; the server knows which method was meant."""
    async with sessions() as (url, proxy):
        assert await proxy.end("a/b") == "ended a/b"
        with pytest.raises(RemoteError) as refused:
            await proxy.end("all")
        assert refused.value.code is Code.INVALID_ARGUMENT
        assert not refused.value.processed
        assert refused.value.message == (
            "sessions.end was called, but DELETE /sessions/all is the path of cleaning.end_all; nothing was executed"
        )
        async with aiohttp.ClientSession() as session, session.delete(f"{url}/sessions/all") as response:
            assert await response.json() == "ended all"


async def test_the_paths_of_the_server_itself_give_no_results() -> None:
    """`/livez`, a health path and the documents are no values of a method."""
    async with sessions() as (url, proxy):
        for name in ("livez", "report", "how-are-you", "openapi.json", "docs"):
            with pytest.raises(RemoteError, match=f"GET /{name} is the path of the server itself; nothing was"):
                await proxy.named(name)
            async with aiohttp.ClientSession() as session, session.get(f"{url}/{name}") as response:
                assert response.status != 400


async def test_what_the_client_knows_is_not_sent() -> None:
    """The path of another method."""
    async with sessions() as (_, proxy):
        with pytest.raises(LocalError, match=r"DELETE /sessions/latest is the path of sessions\.end_latest"):
            await proxy.end("latest")
        assert await proxy.end("..") == "ended .."
        assert await proxy.end_latest() == "ended the latest"


async def test_what_a_proxy_makes_another_path_of_is_not_executed() -> None:
    """Who unquotes `/sessions/x%2F..%2Fall` on the way and takes the step leads elsewhere, and that is noticed."""
    async with sessions() as (url, _), aiohttp.ClientSession() as session:
        headers = {"mesh-method": "sessions-component:sessions:end"}
        async with session.delete(f"{url}/sessions/all", headers=headers) as response:
            assert response.status == 400
            assert (await response.json())["processed"] is False
        async with session.delete(f"{url}/sessions/other", headers=headers) as response:
            assert await response.json() == "ended other"
        async with session.delete(f"{url}/sessions/all", headers={"mesh-method": "a:b:c"}) as response:
            assert await response.json() == "ended all"


async def test_a_header_that_is_a_parameter_is_sent_only_as_the_argument() -> None:
    """What the channel accepts itself is not read as the caller's `accept`."""
    async with sessions() as (_, proxy):
        assert await proxy.accepting("a") == ["a", None]
        assert await proxy.accepting("a", "text/csv") == ["a", "text/csv"]
