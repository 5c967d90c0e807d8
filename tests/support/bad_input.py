"""Ways to hand bad input to a mesh, each of which gives the text that came of it; and what they stand on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import msgspec

from meshcore import Mesh, MeshError, Settings, load_settings, module
from meshcore.cli.call.call import call_once
from meshcore.serve.module_loader import load_module
from meshcore.testing.servers import answering, refusing
from tests.support.bazaar import Bazaar, BazaarComponent
from tests.support.processes import ROOT, ServerProcess, serve

JSON, MSGPACK = b"application/json", b"application/msgpack"
PATH = "bazaar-component:bazaar:"
MODULE = "tests.support.bazaar:BazaarModule"
_ENOUGH = 20.0

pack: Callable[[Any], bytes] = msgspec.msgpack.encode
_MASKS = [
    (re.compile(r"call [0-9a-f]{16}"), "call <id>"),
    (re.compile(r"-[0-9a-f]{16}\b"), "-<id>"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "<url>"),
    (re.compile(r"(?<=Registry\(')/[^']*"), "<folder>"),
    (re.compile(r"blocked for \d\.\d s"), "blocked for <some> s"),
    (re.compile(r"'\. Did you mean '\w+'\?$"), "'"),  # which Python adds since 3.13
]


class Stage(NamedTuple):
    """A server with `tests.support.bazaar`, in a process of its own.

    Attributes:
        server: the process.
        folder: for files of the test.
    """

    server: ServerProcess
    folder: Path

    async def exchange(self, request: bytes | Send) -> str:
        """What the server answers to bytes on a connection of their own: status, code and text.

        Over a bare socket: asyncio's streams lose an answer that has come once there is nobody to write to any more.
        """
        parts = urlsplit(self.server.url)
        loop = asyncio.get_running_loop()
        with socket.socket() as connection:
            connection.settimeout(0)
            await loop.sock_connect(connection, (parts.hostname, parts.port))
            sending = asyncio.ensure_future(_send(request, partial(loop.sock_sendall, connection)))
            try:
                async with asyncio.timeout(_ENOUGH):
                    return await _read_answer(partial(loop.sock_recv, connection))
            finally:
                sending.cancel()
                await asyncio.wait([sending])

    async def works(self) -> bool:
        """Whether a good call gets its answer."""
        return await self.exchange(dispatch_json(call("price", "bolt"))) == '200 {"result":0.5,"exception":null}'

    def memory(self) -> int:
        """Bytes that the server's process has had at most since it was last asked; 0 where nobody tells."""
        pid = self.server.process.pid
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        except OSError:
            return 0
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


Act: TypeAlias = Callable[[Stage], Awaitable[str]]
Write: TypeAlias = Callable[[bytes], Awaitable[None]]
Send: TypeAlias = Callable[[Write], Awaitable[None]]


async def _send(request: bytes | Send, write: Write) -> None:
    with contextlib.suppress(OSError):  # the server has seen enough
        await (write(request) if isinstance(request, bytes) else request(write))


async def _read_answer(read: Callable[[int], Awaitable[bytes]]) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await _some(read)
    head, _, body = data.partition(b"\r\n\r\n")
    head = head.lower()
    length = re.search(rb"content-length: (\d+)", head)
    while len(body) < int(length[1] if length else 0):
        body += await _some(read)
    status = head.split(b" ")[1].decode()
    plain: Any = None
    if body:
        plain = msgspec.msgpack.decode(body) if MSGPACK in head else json.loads(body)
    match plain:
        case {"exception": {"code": str(code), "message": str(text)}} | {"code": str(code), "detail": str(text)}:
            return masked(f"{status} {code}: {text}")
        case _:
            return f"{status} {json.dumps(plain, separators=(',', ':'))}" if body else status


async def _some(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    data = await read(65536)
    assert data, "the server closed the connection and gave no answer, or half of one"
    return data


def masked(text: str) -> str:
    """The text without what is different each time."""
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text


# --- What is sent -----------------------------------------------------------------------------------------------------


def http(verb: str, target: str, content_type: bytes, body: bytes, *, wait: int = 5000) -> bytes:
    """A request as bytes, of a caller that waits so many milliseconds."""
    head = [f"{verb} {target} HTTP/1.1".encode(), b"host: bazaar", b"mesh-timeout-ms: %d" % wait]
    if content_type:
        head.append(b"content-type: " + content_type)
    return b"\r\n".join([*head, b"content-length: %d" % len(body), b"", body])


def compressed(request: bytes) -> bytes:
    """The request with its body said to be compressed."""
    return request.replace(b"host: bazaar", b"host: bazaar\r\ncontent-encoding: gzip", 1)


def dispatch_json(body: bytes, content_type: bytes = JSON) -> bytes:
    """A request of `dispatch-json`."""
    return http("POST", "/invoke", content_type, body)


def dispatch_msgpack(body: bytes, content_type: bytes = MSGPACK) -> bytes:
    """A request of `dispatch-msgpack`."""
    return http("POST", "/invoke", content_type, body)


def rest(verb: str, target: str, body: bytes = b"", content_type: bytes = JSON) -> bytes:
    """A request of `rest`."""
    return http(verb, f"/bazaar{target}", content_type if body else b"", body)


def call(method: str, *args: Any, path: str = PATH) -> bytes:
    """The body of a call in JSON."""
    return json.dumps({"method": path + method, "args": args}).encode()


def packed(method: str, *args: Any) -> bytes:
    """The body of a call in msgpack."""
    return pack({"method": PATH + method, "args": args})


def raw_json(method: str, args: bytes) -> bytes:
    """The body of a call whose arguments are written by hand."""
    return b'{"method":"%b","args":%b}' % ((PATH + method).encode(), args)


def raw_packed(method: str, args: bytes) -> bytes:
    """The same in msgpack."""
    return b"\x82" + pack("method") + pack(PATH + method) + pack("args") + args


def chunked(size: int, *, content_type: bytes = JSON, target: str = "/invoke", wait: int = 5000) -> Send:
    """A body in chunks of one size, as fast as they go, without an end."""

    async def send(write: Write) -> None:
        await write(_chunked_head(target, content_type, wait))
        chunk = b"%x\r\n%b\r\n" % (size, b" " * size)
        while True:
            await write(chunk * max(1, 4096 // size))
            await asyncio.sleep(0)  # a socket that takes all of it would never let anybody else in

    return send


def slow(*, content_type: bytes = JSON, target: str = "/invoke", wait: int = 500) -> Send:
    """A body that comes a byte at a time, and would take a day."""

    async def send(write: Write) -> None:
        await write(http("POST", target, content_type, b" " * 900_000, wait=wait)[:-900_000])
        while True:
            await write(b" ")
            await asyncio.sleep(0.05)

    return send


def _chunked_head(target: str, content_type: bytes, wait: int) -> bytes:
    lines = [f"POST {target} HTTP/1.1".encode(), b"host: bazaar", b"mesh-timeout-ms: %d" % wait]
    return b"\r\n".join([*lines, b"content-type: " + content_type, b"transfer-encoding: chunked", b"", b""])


# --- Who is asked -----------------------------------------------------------------------------------------------------


def asked(request: bytes | Send) -> Act:
    """The server, over a socket."""

    async def act(stage: Stage) -> str:
        return await stage.exchange(request)

    return act


def logged(act: Act, start: str) -> Act:
    """The same, and the line of the server's log that begins like this."""

    async def act_and_look(stage: Stage) -> str:
        before = len(stage.server.output())
        text = await act(stage)
        async with asyncio.timeout(_ENOUGH):
            while True:
                lines = [masked(line) for line in stage.server.output()[before:].splitlines()]
                lines = [line for line in lines if start in line]
                if lines:
                    return f"{text} | log: {lines[0][lines[0].index(start) :]}"
                await asyncio.sleep(0.02)

    return act_and_look


@module(components=[BazaarComponent])
class BazaarClient: ...


def client(what: Callable[[Bazaar], Awaitable[object]], channel: str = "dispatch-json", **values: Any) -> Act:
    """A mesh that calls the server."""

    async def act(stage: Stage) -> str:
        return await _called(what, channel, f"static:bazaar-component={channel}({stage.server.url})", values)

    return act


def client_of(parts: Sequence[bytes], channel: str, *, reset: bool = False, values: Any = None) -> Act:
    """A mesh that calls a server which answers anything with these bytes."""

    async def act(stage: Stage) -> str:
        async with answering(parts, reset=reset) as url:
            return await _called(_any, channel, f"static:bazaar-component={channel}({url})", values or {})

    return act


def client_of_nobody(channel: str) -> Act:
    """A mesh that calls an address where nobody listens."""

    async def act(stage: Stage) -> str:
        async with refusing() as url:
            return await _called(_any, channel, f"static:bazaar-component={channel}({url})", {})

    return act


def client_of_whom(channel: str) -> Act:
    """A mesh in whose registry there is nobody."""

    async def act(stage: Stage) -> str:
        return await _called(_any, channel, f"directory://{stage.folder}/nobody", {})

    return act


async def _any(bazaar: Bazaar) -> object:
    return await bazaar.raises()


async def _called(
    what: Callable[[Bazaar], Awaitable[object]], channel: str, registry: str, values: dict[str, Any]
) -> str:
    async with Mesh(BazaarClient, settings=Settings(registry=registry, **values)) as mesh:
        try:
            result = await what(await mesh.get_service(Bazaar, channel))
        except Exception as error:  # noqa: BLE001 - it is what is looked at
            return masked(f"{type(error).__name__} {error}")
        return f"no error: {result!r}"


def mesh(part: type, *, channel: str = "", interface: type = Bazaar, **values: Any) -> Act:
    """A mesh in this process that starts with a module, and gets a service."""

    async def act(stage: Stage) -> str:
        settings = load_settings({"registry": "local:", **values}, environ={}, directory=stage.folder)
        try:
            async with Mesh(part, settings=settings) as started:
                await started.get_service(interface, channel)
        except MeshError as error:
            return masked(f"{type(error).__name__} {error}")
        return "no error"

    return act


def served(start: str, *options: str, files: Sequence[str] = ()) -> Act:
    """A server of its own with these options; the first line of its log with that in it."""

    async def act(stage: Stage) -> str:
        for name in files:
            (stage.folder / name).write_text("in the way")
        env = {name: value.replace("<folder>", str(stage.folder)) for name, value in map(_setting, options)}
        async with serve(stage.folder, MODULE, env=env, wait=False) as server:
            await server.until_logged(start)
            line = next(line for line in server.output().splitlines() if start in line)
        return masked(line[line.index(start) :].replace(str(stage.folder), "<folder>"))

    return act


def _setting(option: str) -> tuple[str, str]:
    name, _, value = option.partition("=")
    return f"MESHCORE_{name.upper()}", value


def loaded(name: str) -> Act:
    """A module that is named in the settings."""

    async def act(stage: Stage) -> str:
        settings = load_settings({"module": name}, environ={}, directory=stage.folder)
        try:
            return f"no error: {load_module(settings)}"
        except MeshError as error:
            return f"{type(error).__name__} {error}".replace(str(Path.cwd()), "<here>")

    return act


def typed(method: str, *arguments: str) -> Act:
    """What `meshcore call` makes of these words."""

    async def act(stage: Stage) -> str:
        settings = load_settings({"module": MODULE, "registry": "local:"}, environ={}, directory=stage.folder)
        try:
            return await call_once(settings, method, arguments, "", {})
        except MeshError as error:
            return f"{type(error).__name__} {error}"

    return act


def command(*words: str, files: Sequence[str] = (), taken: bool = False) -> Act:
    """The command line; `<folder>` in a word is a folder of the test's own, `<port>` a port.

    Args:
        words: that are typed.
        files: paths in that folder at which there is a plain file.
        taken: whether somebody listens at the port.
    """

    async def act(stage: Stage) -> str:
        for name in files:
            (stage.folder / name).write_text("in the way")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1] if taken else 0)
            typed = [word.replace("<folder>", str(stage.folder)).replace("<port>", port) for word in words]
            environ = {name: value for name, value in os.environ.items() if not name.startswith("MESHCORE_")}
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "meshcore.cli", *typed),
                cwd=ROOT,
                env={**environ, "PYTHONPATH": str(ROOT), "MESHCORE_REGISTRY": f"directory://{stage.folder}/registry"},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await asyncio.wait_for(process.communicate(), _ENOUGH)
        text = (out + err).decode().strip()
        text = text.replace(str(stage.folder), "<folder>").replace(str(ROOT), "<here>").replace(f":{port}:", ":<port>:")
        return f"exit {process.returncode}: {text}"

    return act
