"""Where there is no stream, calls go over dispatch-msgpack: soon, with one line in the log, and not for ever."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from meshcore.channels import stream_peer
from tests.support.depot import Depot
from tests.support.depot_calls import MODULE, STREAMED, calling, until
from tests.support.in_front import listening
from tests.support.processes import ServerProcess, free_port, serve

DISPATCH = "dispatch-msgpack"


class Silencer:
    """A proxy that keeps the requests for a WebSocket to itself, and passes on all others.

    Attributes:
        url: of the proxy.
        silent: whether it still does.
        asked: how many WebSockets were asked for.
    """

    def __init__(self, server: str) -> None:
        self._port = int(server.rpartition(":")[2])
        self._tasks = set[asyncio.Task[None]]()
        self.url = ""
        self.silent = True
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"upgrade: websocket" in head.lower():
                self.asked += 1
                if self.silent:
                    await reader.read()
                    return
            other_reader, other = await asyncio.open_connection("127.0.0.1", self._port)
            other.write(head)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass_on(reader, other))
                    group.create_task(self._pass_on(other_reader, writer))
            finally:
                other.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # it ends, and asyncio (3.11) logs a task that was cancelled
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def aclose(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def silencer(server: str) -> AbstractAsyncContextManager[Silencer]:
    """A proxy in front of the server with that URL."""
    return listening(Silencer(server))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server process."""
    async with serve(tmp_path, MODULE) as found:
        yield found


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of streams."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == stream_peer.__name__ and record.levelno == logging.WARNING
    ]


async def test_a_proxy_that_keeps_websockets(
    server: ServerProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls wait for two seconds at most, then they go over dispatch. The log and `why` say so, until it is mended."""
    monkeypatch.setattr(stream_peer, "TRY_AGAIN", 0.5)
    async with silencer(server.url) as proxy, calling(proxy.url, timeout=20.0) as client:
        began = time.monotonic()
        assert await asyncio.gather(*(client.depot.echo(str(number)) for number in range(50))) == [
            str(number) for number in range(50)
        ]
        assert time.monotonic() - began < 10
        assert client.channels == {DISPATCH}
        assert proxy.asked == 1

        async def told() -> bool:
            return bool(complaints(caplog))

        await until(told, "the log says so")
        began = time.monotonic()
        assert await client.depot.echo("at once") == "at once"
        assert time.monotonic() - began < 2
        explained = client.mesh.why(Depot, "echo", STREAMED).instances[0].remark
        assert explained == "over dispatch-msgpack: the WebSocket was not open within 2.5 s"
        proxy.silent = False

        async def streams() -> bool:
            await client.depot.echo("is it mended?")
            return STREAMED in client.channels

        await until(streams, "the stream is tried again")
        assert len(complaints(caplog)) == 1
        assert client.mesh.why(Depot, "echo", STREAMED).instances[0].remark == ""


async def test_half_of_a_short_deadline(server: ServerProcess) -> None:
    """A call with little time waits for half of that, and then has the other half for dispatch."""
    async with silencer(server.url) as proxy, calling(proxy.url, timeout=4.0, resilience=False) as client:
        assert await client.depot.echo("in time") == "in time"
        assert client.channels == {DISPATCH}


async def test_a_server_without_the_endpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An older release refuses the WebSocket: its calls go over dispatch at once."""
    async with (
        serve(tmp_path, MODULE, app="tests.support.old_release:app") as server,
        calling(server.url, timeout=20.0) as client,
    ):
        assert await client.depot.echo("old") == "old"
        assert client.channels == {DISPATCH}
        assert len(complaints(caplog)) == 1
        assert "was answered with HTTP status 403; calls go over dispatch-msgpack" in complaints(caplog)[0]


NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass {server}; proxy_http_version 1.1; {more} }}
    }}
}}
"""
UPGRADES = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"
HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    {more}
frontend clients
    bind 127.0.0.1:{port}
    default_backend servers
backend servers
    server one {server}
"""


@asynccontextmanager
async def proxied(program: str, config: str, folder: Path, server: str, more: str) -> AsyncIterator[str]:
    """A real proxy in front of a server. Yields its URL."""
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if path is None:
        pytest.fail(f"{program} is not installed; bash .dev/programs installs it")
    port = free_port()
    address = server if program == "nginx" else server.removeprefix("http://")
    file = folder / f"{program}.conf"
    file.write_text(config.format(folder=folder, port=port, server=address, more=more))
    arguments = ("-p", str(folder), "-c", str(file)) if program == "nginx" else ("-f", str(file))
    process = await asyncio.create_subprocess_exec(
        path, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await until(listens, f"{program} listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize(
    ("program", "config", "more", "channel"),
    [
        pytest.param("nginx", NGINX, "", DISPATCH, id="nginx"),
        pytest.param("nginx", NGINX, UPGRADES, STREAMED, id="nginx that passes upgrades on"),
        pytest.param("haproxy", HAPROXY, "", STREAMED, id="haproxy"),
        pytest.param("haproxy", HAPROXY, "option http-buffer-request", STREAMED, id="haproxy that buffers"),
    ],
)
async def test_real_proxies(
    server: ServerProcess, tmp_path: Path, program: str, config: str, more: str, channel: str
) -> None:
    """Whatever stands between, calls are answered at once; over the stream if upgrades are passed on."""
    async with proxied(program, config, tmp_path, server.url, more) as url, calling(url, timeout=20.0) as client:
        began = time.monotonic()
        texts = [str(number) for number in range(100)]
        assert await asyncio.gather(*map(client.depot.echo, texts)) == texts
        assert time.monotonic() - began < 10
        assert client.channels == {channel}
