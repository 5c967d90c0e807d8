"""Clients that do the endpoint of the stream harm: each is disconnected, and the others notice nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from meshcore.wire.endpoints import STREAM, STREAM_PROTOCOL
from meshcore.wire.stream.connection import Connection
from meshcore.wire.stream.events import Answered, Failed
from meshcore.wire.stream.limits import Limits
from tests.support.processes import ServerProcess, serve

pytestmark = pytest.mark.one_python

MODULE = "tests.support.depot:DepotModule"
SIZE = 8_000_000
_ESTABLISHED = "01"  # in the table of the kernel
PATH = "depot-component:depot:{}"


@asynccontextmanager
async def connected(server: ServerProcess, **options: object) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket to the endpoint."""
    async with aiohttp.ClientSession() as session:
        websocket = await session.ws_connect(server.url + STREAM, protocols=(STREAM_PROTOCOL,), **options)
        try:
            yield websocket
        finally:
            await websocket.close()


async def answered(server: ServerProcess) -> bool:
    """Whether a well-behaved client gets an answer within a bounded time."""
    machine = Connection(client=True, now=time.monotonic())
    async with connected(server) as websocket, asyncio.timeout(20):
        number = 0
        while True:
            await websocket.send_bytes(machine.data_to_send())
            for event in machine.feed(await websocket.receive_bytes(), time.monotonic()):
                match event:
                    case Answered(call=call, payload=payload):
                        assert call == number
                        return msgspec.msgpack.decode(payload) == "well"
                    case Failed(text=text):
                        raise AssertionError(text)
            if machine.room and not number:
                number = machine.request(PATH.format("echo"), msgspec.msgpack.encode(["well"]))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server process."""
    async with serve(tmp_path, MODULE) as found:
        yield found


async def ends(websocket: aiohttp.ClientWebSocketResponse) -> bytes:
    """What a server says until it closes the connection."""
    said = b""
    async with asyncio.timeout(20):
        while (message := await websocket.receive()).type is aiohttp.WSMsgType.BINARY:
            said += message.data
    assert message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
    return said


async def test_garbage(server: ServerProcess) -> None:
    """What is no frame ends the connection, after a frame that says why. Others go on."""
    for garbage in (os.urandom(100_000), b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 9, b"\xff" * 20):
        async with connected(server) as websocket:
            await websocket.send_bytes(garbage)
            assert b"the peer does not speak this protocol" in await ends(websocket)
    async with connected(server) as websocket:
        await websocket.send_str("a text")
        await ends(websocket)
    assert await answered(server)


async def test_an_unknown_method(server: ServerProcess) -> None:
    """It is an error of this call, with a hint; the connection goes on."""
    machine = Connection(client=True, now=time.monotonic())
    async with connected(server) as websocket, asyncio.timeout(20):
        await websocket.send_bytes(machine.data_to_send())
        while not machine.room:
            machine.feed(await websocket.receive_bytes(), time.monotonic())
        machine.request(PATH.format("ecco"), msgspec.msgpack.encode(["well"]))
        machine.request(PATH.format("echo"), msgspec.msgpack.encode([7]))
        machine.request(PATH.format("echo"), b"\xc1")
        await websocket.send_bytes(machine.data_to_send())
        told: list[dict[str, object]] = []
        while len(told) < 3:
            events: list[Any] = machine.feed(await websocket.receive_bytes(), time.monotonic())
            told += [msgspec.msgpack.decode(event.payload) for event in events]
        codes = [each["code"] for each in told]
        assert codes == ["unimplemented", "invalid_argument", "invalid_argument"]
        assert "did you mean 'depot-component:depot:echo'" in str(told[0]["message"])
        assert all(each["processed"] is False for each in told)


async def test_a_reader_that_does_not_read(tmp_path: Path) -> None:
    """Answers that nobody reads are bounded, further calls are refused, and the client is disconnected in the end."""
    env = {"MESHCORE_MAX_BODY": str(2 * SIZE), "MESHCORE_MAX_UNSENT": str(4 * SIZE)}
    async with serve(tmp_path, MODULE, env=env) as server:
        before = memory(server)
        limits = Limits.of_message(2 * SIZE, large_bytes=2**30)
        machine = Connection(client=True, now=time.monotonic(), limits=limits)
        async with connected(server, max_msg_size=0) as websocket, asyncio.timeout(60):
            await websocket.send_bytes(machine.data_to_send())
            while not machine.room:
                machine.feed(await websocket.receive_bytes(), time.monotonic())
            for _ in range(50):
                machine.request(PATH.format("large"), msgspec.msgpack.encode([SIZE]))
            await websocket.send_bytes(machine.data_to_send())
            # From here on it reads nothing, so that the buffers of both sides fill up.
            most = 0
            while not gone(websocket):
                most = max(most, memory(server))
                assert await answered(server)
                await asyncio.sleep(0.1)
            assert most - before < 20 * SIZE
        assert await answered(server)


def gone(websocket: aiohttp.ClientWebSocketResponse) -> bool:
    """Whether the server has closed the connection, without reading from it: its end has nothing to do with it."""
    port = websocket.get_extra_info("sockname")[1]
    connections = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return not any(int(each[2].split(":")[1], 16) == port and each[3] == _ESTABLISHED for each in connections)


def memory(server: ServerProcess) -> int:
    """Bytes of the server that are in memory."""
    text = Path(f"/proc/{server.process.pid}/statm").read_text()
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_another_site(server: ServerProcess) -> None:
    """A page of another site gets no connection, whatever it sends."""
    async with aiohttp.ClientSession() as session:
        for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(server.url + STREAM, protocols=(STREAM_PROTOCOL,), headers=headers)
            assert caught.value.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(server.url + STREAM, protocols=("chat",))
    assert await answered(server)


async def test_clients_that_leave(server: ServerProcess) -> None:
    """Of connections that are reset in the middle of calls nothing stays, and the calls are cancelled."""
    for _ in range(20):
        machine = Connection(client=True, now=time.monotonic())
        async with connected(server) as websocket, asyncio.timeout(20):
            await websocket.send_bytes(machine.data_to_send())
            while not machine.room:
                machine.feed(await websocket.receive_bytes(), time.monotonic())
            for _ in range(5):
                machine.request(PATH.format("hold"), msgspec.msgpack.encode(["left", 60.0]))
            await websocket.send_bytes(machine.data_to_send())
    deadline = time.monotonic() + 20
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{server.url}/report") as response:
                active = (await response.json())["active"]
            if not active:
                break
            assert time.monotonic() < deadline, f"{active} calls still run"
            await asyncio.sleep(0.05)
    assert await answered(server)
