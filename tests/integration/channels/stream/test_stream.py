"""The channel `stream-msgpack` against real servers: what goes over a connection, and what becomes of it in the end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshcore import Code, CommunicationError, MeshError, Policy
from meshcore.declare.advice import Invocation, advice, around, methods
from meshcore.ports.channel import Channel
from tests.support.certificates import make_certificate
from tests.support.depot import Depot
from tests.support.depot_calls import MODULE, STREAMED, calling, until
from tests.support.processes import ServerProcess, serve
from tests.support.tunnel import tunnel


async def failing(call: Awaitable[object]) -> MeshError:
    """Return the error that a call ends with."""
    with pytest.raises(MeshError) as caught:
        await call
    return caught.value


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server process."""
    async with serve(tmp_path, MODULE) as found:
        yield found


async def test_all_calls_take_one_connection(tmp_path: Path) -> None:
    """2,000 calls at the same time take one connection, and the server knows peer, deadline and headers of each."""
    policies = {"depot-component": Policy(concurrency=2000)}
    async with (
        serve(tmp_path, MODULE, env={"MESHCORE_MAX_CONCURRENCY": "2000"}) as server,
        tunnel(server.url) as way,
        calling(way.url, timeout=60.0, policies=policies) as client,
    ):
        texts = [str(number) for number in range(2000)]
        assert await asyncio.gather(*map(client.depot.echo, texts)) == texts
        facts = await client.depot.facts()
        assert (facts.pid, facts.peer, facts.attempt) == (server.process.pid, "127.0.0.1", 1)
        assert 0 < facts.left <= 60
        assert way.connections == 1
        assert client.channels == {STREAMED}


async def test_many_calls_last_at_once(server: ServerProcess) -> None:
    """900 calls are in flight at once on one connection, and one more is as fast as ever."""
    async with calling(server.url, timeout=60.0) as client:
        tasks = [asyncio.ensure_future(client.depot.hold("many", 30.0)) for _ in range(900)]

        async def all_run() -> bool:
            return (await client.depot.held("many"))[0] == 900

        await until(all_run, "900 calls run")
        assert await client.depot.echo("one more") == "one more"
        for task in tasks:
            task.cancel()

        async def all_cancelled() -> bool:
            return (await client.depot.held("many"))[1] == 900

        await until(all_cancelled, "900 calls are cancelled")
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)


async def test_the_deadline_travels(server: ServerProcess) -> None:
    """A call ends at its deadline, at both ends, and its connection goes on."""
    policies = {"depot.hold": Policy(timeout=0.5)}
    async with tunnel(server.url) as way, calling(way.url, timeout=60.0, policies=policies) as client:
        assert await client.depot.echo("connected") == "connected"
        error = await failing(client.depot.hold("late", 60.0))
        assert error.code is Code.DEADLINE_EXCEEDED

        async def cancelled() -> bool:
            return (await client.depot.held("late"))[1] == 1

        await until(cancelled, "the server has cancelled it", 20.0)
        assert way.connections == 1


async def test_a_large_answer_holds_nothing_up(tmp_path: Path) -> None:
    """While an answer of 50 MiB is under way, small calls pass it by, and it arrives whole."""
    size = 50 * 2**20
    async with (
        serve(tmp_path, MODULE, env={"MESHCORE_MAX_BODY": str(size + 1024)}) as server,
        calling(server.url, timeout=60.0, max_body=size + 1024) as client,
    ):
        assert await client.depot.echo("connected") == "connected"
        large = asyncio.ensure_future(client.depot.large(size))
        passed_by = 0
        while not large.done():
            assert await client.depot.echo("small") == "small"
            passed_by += not large.done()
        assert len(large.result()) == size
        assert passed_by >= 1
        assert client.channels == {STREAMED}


async def test_a_killed_server(tmp_path: Path) -> None:
    """What was in flight when a server is killed is sent again if it may be. Else it fails, and was maybe processed."""
    async with (
        serve(tmp_path, MODULE) as server,
        serve(tmp_path, MODULE) as other,
        calling(server.url, other.url, timeout=20.0) as client,
    ):
        holds = [asyncio.ensure_future(client.depot.hold("killed", 5.0)) for _ in range(20)]
        async with calling(server.url) as sick:

            async def runs() -> bool:
                return (await sick.depot.held("killed"))[0] > 0

            await until(runs, "some calls run at the server that is killed")
        server.send(signal.SIGKILL)
        assert await asyncio.gather(*(client.depot.echo(str(number)) for number in range(200))) == [
            str(number) for number in range(200)
        ]
        ends = await asyncio.gather(*holds, return_exceptions=True)
        lost = [end for end in ends if isinstance(end, BaseException)]
        assert lost
        for error in lost:
            assert isinstance(error, CommunicationError)
            assert (error.code, error.processed) == (Code.UNAVAILABLE, True)
        assert {end for end in ends if isinstance(end, int)} == {other.process.pid}


async def test_a_stopped_server(tmp_path: Path) -> None:
    """A server that stops ends what it has begun and refuses the rest: no call fails, and none is executed twice."""
    async with (
        serve(tmp_path, MODULE) as server,
        serve(tmp_path, MODULE) as other,
        calling(server.url, other.url, timeout=20.0) as client,
    ):
        done: list[int] = []
        stopped = asyncio.Event()

        async def caller(name: str) -> None:
            while not stopped.is_set():
                done.append(await client.depot.hold(name, 0.01))

        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(caller(str(number)))

            async def both() -> bool:
                return {server.process.pid, other.process.pid} <= set(done)

            await until(both, "both servers have answered")
            assert await server.stop() == 0
            before = len(done)

            async def more() -> bool:
                return len(done) > before + 50

            await until(more, "calls go on")
            stopped.set()
        assert client.channels == {STREAMED}


async def test_a_connection_that_is_cut(server: ServerProcess) -> None:
    """A new one is made for the next call. What was in flight was maybe processed."""
    async with tunnel(server.url) as way, calling(way.url, resilience=False, timeout=10.0) as client:
        hold = asyncio.ensure_future(client.depot.hold("cut", 5.0))

        async def runs() -> bool:
            return (await client.depot.held("cut"))[0] == 1

        await until(runs, "the call runs")
        way.cut()
        error = await failing(hold)
        assert (type(error), error.code, error.processed) == (CommunicationError, Code.UNAVAILABLE, True)
        assert await client.depot.echo("again") == "again"
        assert way.connections == 2

        async def cancelled() -> bool:
            return (await client.depot.held("cut"))[1] == 1

        await until(cancelled, "the server has cancelled what nobody waits for", 20.0)


async def test_a_half_open_connection(server: ServerProcess) -> None:
    """A peer that is gone without a word is found by pings, and its calls fail long before their deadline."""
    async with tunnel(server.url) as way, calling(way.url, resilience=False, timeout=60.0) as client:
        assert await client.depot.echo("connected") == "connected"
        way.swallow()
        began = time.monotonic()
        error = await failing(client.depot.echo("into nothing"))
        assert (error.code, error.processed) == (Code.UNAVAILABLE, True)
        assert time.monotonic() - began < 25
        way.go_on()
        assert await client.depot.echo("again") == "again"


async def test_headers_of_the_session_count_for_all_calls(server: ServerProcess) -> None:
    """Advice that gives the session a token gives it to every call, as over HTTP; a call's own headers come first."""

    @advice
    class Token:
        @around(methods().named("make_session").of_type(Channel))
        def make_session(self, invocation: Invocation) -> Any:
            return invocation.proceed(headers={"authorization": "Bearer secret"})

    async with calling(server.url, provides=[Token]) as client:
        facts = await client.depot.facts()
        assert facts.headers["authorization"] == "Bearer secret"
        assert "sec-websocket-key" not in facts.headers
        assert client.channels == {STREAMED}


async def test_tls(tmp_path: Path) -> None:
    """A URL that begins with https:// makes a connection over TLS."""
    certificate = make_certificate(tmp_path / "tls")
    options = ("--certfile", str(certificate.certificate), "--keyfile", str(certificate.key))

    @advice
    class Trust:
        @around(methods().named("make_session").of_type(Channel))
        def make_session(self, invocation: Invocation) -> Any:
            return invocation.proceed(connector=aiohttp.TCPConnector(ssl=certificate.client_context()))

    async with serve(tmp_path, MODULE, *options, wait=False) as server:
        url = server.url.replace("http://", "https://")
        async with calling(url, provides=[Trust], timeout=20.0) as client:
            await client.mesh.wait_for(Depot)

            async def answers() -> bool:
                try:
                    return await client.depot.echo("secret") == "secret"
                except MeshError:
                    return False

            await until(answers, "the server answers")
            assert STREAMED in client.channels
