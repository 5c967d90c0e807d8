"""aspyx-service and meshcore find each other through one Consul agent, each by its own registry."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshcore import Code, Invocation, Mesh, RemoteError, advice, around, load_settings, methods, module
from meshcore.channels.http import HTTPChannel
from meshcore.testing import ConsulAgent, consul_agent
from tests.aspyx.environment import aspyx_python
from tests.integration.consul.scene import CACHE
from tests.support.interop import AsyncInterop, InteropComponent, SyncInterop
from tests.support.processes import ROOT, ServerProcess, free_port, serve

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]  # the first to run makes the environment

CHANNELS = ("dispatch-json", "dispatch-msgpack", "rest")
SLEEP = 0.5  # of aspyx's registry between two looks; 5 s if it is not told
SLACK = 4.0


class Peer:
    """A process of aspyx's."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self._urls: tuple[float, list[str]] = (0.0, [])

    async def line(self) -> dict[str, Any]:
        """What it says next; lists of addresses are kept."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            text = await self.process.stdout.readline()
        assert text, "aspyx's process has ended"
        said: dict[str, Any] = json.loads(text)
        if "urls" in said:
            assert said["alive"], "its watcher has died"
            self._urls = said["at"], said["urls"]
        return said

    async def until(self, *urls: str) -> float:
        """Return when it lists these servers over every channel, and the monotonic time when it did."""
        wanted = sorted(f"{channel}({url})" for channel in CHANNELS for url in urls)
        while self._urls[1] != wanted:
            await self.line()
        return self._urls[0]

    async def calls(self, command: str) -> list[dict[str, Any]]:
        """Let it call; see its script."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        made = []
        while "done" not in (said := await self.line()):
            if "urls" not in said:
                made.append(said)
        return made


@asynccontextmanager
async def aspyx(script: str, *arguments: object, port: int = 0, **env: str) -> AsyncIterator[Peer]:
    """A process in aspyx's environment; it ends in good order."""
    python = await asyncio.to_thread(aspyx_python, ROOT / ".cache")
    process = await asyncio.create_subprocess_exec(
        *(python, ROOT / "tests/aspyx" / script, *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **env},
    )
    try:
        yield Peer(process, port)
    finally:
        if process.returncode is None:
            process.terminate()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def its_server(agent: ConsulAgent) -> AsyncIterator[Peer]:
    """A server of aspyx's that its own registry announces. It listens already."""
    port = free_port()
    # Consul's first look comes at a random time within the interval, ten seconds by default.
    env = {"consul.healthcheck.interval": "1s"}
    async with aspyx("server.py", port, consul_port(agent), port=port, **env) as peer:
        assert peer.process.stdout is not None
        assert (await asyncio.wait_for(peer.process.stdout.readline(), 60)).strip() == b"ready"
        yield peer


def our_server(folder: Path, agent: ConsulAgent) -> Any:
    """A server of ours that `meshcore.registry.consul` announces."""
    return serve(folder, "tests.support.interop:InteropModule", env={"MESHCORE_REGISTRY": setting(agent)})


def setting(agent: ConsulAgent) -> str:
    """The registry of ours."""
    return f"consul://127.0.0.1:{consul_port(agent)}"


def consul_port(agent: ConsulAgent) -> str:
    """What aspyx's scripts are told."""
    return agent.url.rpartition(":")[2]


called: set[str] = set()


async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Note which server a request goes to."""
    called.add(str(request.url.origin()))
    return await handler(request)


@advice
class Noting:
    @around(methods().named("make_session").of_type(HTTPChannel))
    def noting(self, invocation: Invocation) -> object:
        return invocation.proceed(middlewares=(note,))


@module(components=[InteropComponent])
class NotingClient: ...


@asynccontextmanager
async def our_client(folder: Path, agent: ConsulAgent) -> AsyncIterator[Mesh]:
    """A mesh that knows of the agent only."""
    settings = load_settings({"registry": setting(agent)}, environ={}, directory=folder)
    async with Mesh(NotingClient, settings=settings) as mesh:
        yield mesh


async def known(mesh: Mesh, *urls: str) -> float:
    """Return when our client has these servers, and the monotonic time when it did."""
    async with asyncio.timeout(20):
        while {
            each.url
            for one in mesh.runtime.destinations.by_component["interop-component"].instances
            for each in one.addresses
        } != set(urls):
            await asyncio.sleep(0.005)
    return time.monotonic()


async def call_both(mesh: Mesh, *urls: str) -> None:
    """Calls over every channel reach all of these servers, and no other."""
    for channel in CHANNELS:
        called.clear()
        service = await mesh.get_service(AsyncInterop, channel)
        assert await asyncio.gather(*(service.hello("wörld") for _ in range(20))) == ["hello wörld"] * 20
        assert called == set(urls)


async def test_its_client_finds_and_calls_our_server(tmp_path: Path) -> None:
    """Every call of aspyx's client, sync and async, over every channel, at the addresses that its registry found."""
    async with (
        consul_agent(cache=CACHE) as agent,
        our_server(tmp_path, agent) as server,
        aspyx("consul_client.py", consul_port(agent), SLEEP) as client,
    ):
        await client.until(server.url)
        calls = await client.calls("calls")
        assert [call for call in calls if not call["passed"]] == []
        assert len(calls) == 52


async def test_our_client_finds_and_calls_its_server(tmp_path: Path) -> None:
    """Our client finds what aspyx's registry registered, and calls it over every channel it offers."""
    async with consul_agent(cache=CACHE) as agent, its_server(agent) as server, our_client(tmp_path, agent) as mesh:
        for channel in CHANNELS:
            service = await mesh.get_service(AsyncInterop, channel)
            await mesh.wait_for(AsyncInterop)
            assert await service.hello("wörld") == "hello wörld"
            with pytest.raises(RemoteError) as failed:
                await service.fail("because")
            # its server sends no reason over rest
            assert failed.value.code is Code.UNKNOWN if channel == "rest" else failed.value.message == "because"
            blocking = await mesh.get_service(SyncInterop, channel)
            assert await asyncio.to_thread(blocking.add, 1, 2) == 3
        await call_both(mesh, server.url)


async def test_both_serve_one_component(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Under one name, calls of either client reach both servers; who stops is missed by both clients, aspyx's later."""
    async with (
        consul_agent(cache=CACHE) as agent,
        our_server(tmp_path, agent) as ours,
        our_client(tmp_path, agent) as mesh,
        aspyx("consul_client.py", consul_port(agent), SLEEP) as client,
    ):
        await client.until(ours.url)
        service = await mesh.get_service(AsyncInterop)
        assert await service.hello("you") == "hello you"
        async with its_server(agent) as its:
            listed = time.monotonic()
            record_property("we_find_it_seconds", await known(mesh, ours.url, its.url) - listed)
            record_property("it_finds_its_own_seconds", await client.until(ours.url, its.url) - listed)
            await call_both(mesh, ours.url, its.url)
            reached = await client.calls("each")
            assert all(call["passed"] for call in reached), reached
            assert {call["url"] for call in reached} == {ours.url, its.url}
            assert len(reached) == 2 * len(CHANNELS)

            async with our_server(tmp_path, agent) as more:
                started = time.monotonic()
                assert await known(mesh, ours.url, its.url, more.url) - started < 1
                took = await client.until(ours.url, its.url, more.url) - started
                record_property("it_finds_ours_seconds", took)
                assert took < SLEEP + SLACK
                await stop(more, record_property, mesh, client, ours.url, its.url)

            stopped = time.monotonic()
            its.process.terminate()
            took = await known(mesh, ours.url) - stopped
            record_property("we_miss_it_seconds", took)
            # It goes first and withdraws then; Consul's check of it or that, whichever comes first.
            assert took < SLACK
            await call_both(mesh, ours.url)
            assert await client.until(ours.url) - stopped < SLEEP + SLACK
            assert {call["url"] for call in await client.calls("each") if call["passed"]} == {ours.url}


async def stop(
    server: ServerProcess, record: Callable[[str, object], None], mesh: Mesh, client: Peer, *remaining: str
) -> None:
    """Stop a server of ours; both clients know only those that remain, each in its time."""
    stopped = time.monotonic()
    stopping = asyncio.create_task(server.stop())
    took = await known(mesh, *remaining) - stopped
    record("we_miss_ours_seconds", took)
    assert took < 1.5
    took = await client.until(*remaining) - stopped
    record("it_misses_ours_seconds", took)
    assert took < SLEEP + SLACK
    assert await stopping == 0
