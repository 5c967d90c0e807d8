"""Answers that nobody reads: they count as running calls, and their time ends as that of any call."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from meshcore.wire.headers import TIMEOUT
from tests.support.processes import ROOT, ServerProcess, free_port, serve

pytestmark = pytest.mark.one_python

MODULE = "tests.integration.serve.unread:LibraryModule"
CALLS = 4
SIZE = 8_000_000  # more than the buffers of both sides take

REST = b"GET /library/books/%d HTTP/1.1\r\nhost: x\r\n%b\r\n"
BODY = b'{"method":"library-component:library:book","args":[%d]}' % SIZE
DISPATCH = b"POST /invoke HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
REQUESTS: dict[str, Callable[[bytes], bytes]] = {
    "rest": lambda header: REST % (SIZE, header),
    "dispatch": lambda header: DISPATCH % (len(BODY), header, BODY),
}


@contextmanager
def unread(url: str, request: bytes) -> Generator[socket.socket]:
    """A client that asks and does not read."""
    address = URL(url)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((address.host, address.port))
        sock.sendall(request)
        yield sock


async def until_answered(sock: socket.socket) -> None:
    """Return when the answer has begun. Nothing of it is read."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while not await asyncio.to_thread(poll.poll, 100):
        pass


def rest_of(sock: socket.socket) -> int:
    """Read what is still there, until the server's end of the connection; the number of bytes."""
    size = 0
    with suppress(ConnectionResetError):
        while part := sock.recv(2**20):
            size += len(part)
    return size


async def active(session: aiohttp.ClientSession, url: str) -> int:
    """How many calls the server runs."""
    async with session.get(f"{url}/report") as response:
        report = await response.json()
    number: int = report["active"]
    return number


async def status(session: aiohttp.ClientSession, url: str) -> int:
    """Of a call whose answer is read."""
    async with session.get(f"{url}/library/books/3") as response:
        await response.read()
    return response.status


@asynccontextmanager
async def uvicorn(folder: Path) -> AsyncGenerator[ServerProcess]:
    """The same application under another server."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MESHCORE_MODULE": MODULE,
        "MESHCORE_ADVERTISE_URL": url,
        "MESHCORE_REGISTRY": f"directory://{folder}/registry",
        "MESHCORE_MAX_CONCURRENCY": str(CALLS),
    }
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "--port", str(port), "meshcore.app:app"),
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    server = ServerProcess(process, url, folder / "log")
    try:
        await server.until_ready()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("host", ["hypercorn", "hypercorn with uvloop", "uvicorn"])
async def test_the_time_of_a_call_covers_its_answer(tmp_path: Path, kind: str, host: str) -> None:
    """When it is up, the connection is closed and the place of the call is free."""
    options = ("--worker-class", "uvloop") if "uvloop" in host else ()
    limit = {"MESHCORE_MAX_CONCURRENCY": str(CALLS)}
    request = REQUESTS[kind](b"%b: 500\r\n" % TIMEOUT.encode())
    async with (
        uvicorn(tmp_path) if host == "uvicorn" else serve(tmp_path, MODULE, *options, env=limit) as server,
        aiohttp.ClientSession() as session,
    ):
        with ExitStack() as stack:
            clients = [stack.enter_context(unread(server.url, request)) for _ in range(CALLS)]
            for client in clients:
                await until_answered(client)
            while await active(session, server.url):
                await asyncio.sleep(0.02)
            assert await status(session, server.url) == 200
            for client in clients:
                assert 0 < await asyncio.to_thread(rest_of, client) < SIZE
        assert "Traceback" not in server.output()


async def test_answers_that_are_sent_count_as_running_calls(tmp_path: Path) -> None:
    """Others are refused, and a server that stops waits for them no longer than for a call."""
    limits = {"MESHCORE_MAX_CONCURRENCY": str(CALLS), "MESHCORE_DRAIN": "0.2"}
    async with serve(tmp_path, MODULE, env=limits) as server, aiohttp.ClientSession() as session:
        with ExitStack() as stack:
            clients = [stack.enter_context(unread(server.url, REQUESTS["rest"](b""))) for _ in range(CALLS)]
            while await active(session, server.url) < CALLS:
                await asyncio.sleep(0.02)
            assert await status(session, server.url) == 429
            assert await server.stop(signal.SIGTERM) == 0
            for client in clients:
                assert 0 < await asyncio.to_thread(rest_of, client) < SIZE


async def test_unsent_bytes_are_limited_for_the_whole_process(tmp_path: Path) -> None:
    """While there are more, calls are refused as not processed."""
    limits = {"MESHCORE_MAX_UNSENT": "1000000"}
    async with serve(tmp_path, MODULE, env=limits) as server, aiohttp.ClientSession() as session:
        with unread(server.url, REQUESTS["rest"](b"")):
            while not await active(session, server.url):
                await asyncio.sleep(0.02)
            async with session.get(f"{server.url}/library/books/3") as response:
                problem = await response.json()
            assert problem["code"] == "resource_exhausted"
            assert problem["detail"] == (
                f"this instance holds {SIZE + 2} bytes of answers that nobody has read yet (setting max_unsent)"
            )
        while await active(session, server.url):
            await asyncio.sleep(0.02)
        assert await status(session, server.url) == 200


async def test_a_large_answer_arrives_whole(tmp_path: Path) -> None:
    """It is sent in parts; the last one may have any size."""
    async with serve(tmp_path, MODULE) as server, aiohttp.ClientSession() as session:
        for size in (2**16 - 3, 2**16 - 2, 2**16 - 1, 2**17 - 2, 2**17 - 1, 300_000):
            async with session.get(f"{server.url}/library/books/{size}") as response:
                assert await response.json() == "x" * size
                assert response.content_length == size + 2


async def test_a_refused_call_with_a_large_body_is_told(tmp_path: Path) -> None:
    """Its client reads the refusal. If the connection broke meanwhile, it could not know whether it was executed."""
    body = b"{" + b" " * 3_900_000
    request = DISPATCH % (len(body), b"", body)
    async with serve(tmp_path, MODULE, env={"MESHCORE_MAX_UNSENT": "1"}) as server, aiohttp.ClientSession() as session:
        with unread(server.url, REQUESTS["rest"](b"")):
            while not await active(session, server.url):
                await asyncio.sleep(0.02)
            address = URL(server.url)
            for _ in range(5):
                with socket.create_connection((address.host or "", address.port or 0)) as sock:
                    await asyncio.to_thread(sock.sendall, request)
                    answer = await asyncio.to_thread(sock.recv, 1000)
                    assert answer.startswith(b"HTTP/1.1 429")
