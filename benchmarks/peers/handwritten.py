"""The floor of HTTP: the same calls written by hand, with bare ASGI on hypercorn, aiohttp and msgspec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import msgspec
from hypercorn.asyncio import serve as hypercorn
from hypercorn.config import Config

from benchmarks.comparison.answering import HOST, answering
from benchmarks.comparison.child import run
from benchmarks.comparison.payload import TEXT, Node, Workload, tree
from benchmarks.comparison.peer import Call, Calls, Peer

Message = MutableMapping[str, Any]

encode = msgspec.msgpack.Encoder().encode
DECODERS: dict[str, Callable[[bytes], Any]] = {
    f"/{name}": msgspec.msgpack.Decoder(of).decode for name, of in {"empty": None, "tree": Node, "text": str}.items()
}
CONTENT_TYPE = "application/msgpack"
TIMEOUT = 10.0


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    try:
        status, body = 200, encode(DECODERS[scope["path"]](b"".join(chunks)))
    except (KeyError, msgspec.MsgspecError):
        status, body = 400, b""
    headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serve(variant: str, port: int) -> AsyncGenerator[None, None]:  # noqa: ARG001 - there is one
    """hypercorn, with its defaults."""
    config = Config.from_mapping(bind=f"{HOST}:{port}")
    async with answering(hypercorn(app, config, shutdown_trigger=asyncio.Event().wait), port):
        yield


@asynccontextmanager
async def connect(variant: str, port: int) -> AsyncGenerator[Calls, None]:  # noqa: ARG001 - there is one
    """One session of aiohttp, with a time limit, and as many connections as there are callers."""
    headers = {"content-type": CONTENT_TYPE}
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
    urls = {path: f"http://{HOST}:{port}{path}" for path in DECODERS}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:

        async def call(path: str, argument: Any) -> Any:
            async with session.post(urls[path], data=encode(argument), headers=headers) as response:
                response.raise_for_status()
                return DECODERS[path](await response.read())

        yield {
            Workload.EMPTY: Call(partial(call, "/empty", None)),
            Workload.TREE: Call(partial(call, "/tree", tree()), tree()),
            Workload.TEXT: Call(partial(call, "/text", TEXT), TEXT),
        }


PEER = Peer("HTTP by hand", [""], serve, connect)

if __name__ == "__main__":
    run(PEER)
