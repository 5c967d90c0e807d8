"""Calls of methods that do not exist, by callers that were never heard of: each call names others."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from pathlib import Path

import aiohttp
import msgspec
from yarl import URL

from benchmarks.calls.wire import Plan
from benchmarks.processes import free_port, hypercorn
from benchmarks.report import Goal, Report
from meshcore.wire.endpoints import INVOKE, READYZ, STREAM, STREAM_PROTOCOL
from meshcore.wire.headers import CALLER
from meshcore.wire.stream.connection import Connection
from meshcore.wire.stream.events import Erred, Failed

CALLS = 100_000
CONNECTIONS = 4
_AT_ONCE = 64
_OF_A_CONNECTION = 500
"""Requests; hypercorn closes a connection after 1,000."""


class Strangers:
    """The names, each of which comes once."""

    def __init__(self) -> None:
        self._numbers = count()

    def next(self) -> tuple[str, str]:
        """The name of a method, and that of a caller."""
        number = next(self._numbers)
        return f"bench:unknown-{number}:method-{number}", f"caller-{number}"


async def over_dispatch(url: str, strangers: Strangers, calls: int) -> int:
    """Make so many calls over dispatch-msgpack; how many were refused because there is no such method."""
    refused = 0
    left = calls

    async def work() -> None:
        nonlocal left, refused
        while left > 0:
            batch = min(left, _OF_A_CONNECTION)
            left -= batch
            reader, writer = await asyncio.open_connection(URL(url).host, URL(url).port)
            for _ in range(batch):
                method, caller = strangers.next()
                body = msgspec.msgpack.encode({"method": method, "args": []})
                head = (
                    f"POST {INVOKE} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/msgpack\r\n{CALLER}: {caller}"
                )
                writer.write(f"{head}\r\nmesh-timeout-ms: 60000\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                answer = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                refused += b"unimplemented" in await reader.readexactly(int(size))
            writer.close()
            await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(work())
    return refused


async def over_stream(url: str, strangers: Strangers, calls: int) -> int:
    """The same over stream-msgpack, on one connection.

    Raises:
        RuntimeError: the server has ended the connection.
    """
    machine = Connection(client=True, now=time.monotonic())
    begun = ended = refused = 0
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}{STREAM}", protocols=(STREAM_PROTOCOL,)) as websocket,
    ):
        while ended < calls:
            while begun < calls and machine.room and machine.calls < _AT_ONCE:
                method, caller = strangers.next()
                machine.request(method, b"\x90", {CALLER: caller}, 60.0)
                begun += 1
            if data := machine.data_to_send():
                await websocket.send_bytes(data)
                machine.progress()
            for event in machine.feed(await websocket.receive_bytes(), time.monotonic()):
                if isinstance(event, Failed):
                    raise RuntimeError(event.text)  # noqa: TRY004 - it is no type that is wrong
                if isinstance(event, Erred):
                    ended += 1
                    refused += b"unimplemented" in event.payload
    return refused


def resident(pid: int) -> int:
    """Bytes that a process has in memory; 0 where there is no /proc."""
    file = Path(f"/proc/{pid}/status")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


async def strangers_section(plan: Plan, report: Report) -> None:
    """What a server keeps of them."""
    port, calls = free_port(), 1_000 if plan.quick else CALLS
    url = f"http://127.0.0.1:{port}"
    env = {
        "MESHCORE_MODULE": "benchmarks.served:ServedModule",
        "MESHCORE_ADVERTISE_URL": url,
        "MESHCORE_REGISTRY": "local:",
        "MESHCORE_ADAPTIVE_LIMIT": "false",  # what it refuses has another code, which is another series
    }
    strangers, refused = Strangers(), 0
    with hypercorn("meshcore.app:app", plan.loop, env, port, READYZ) as server:
        for over in (over_dispatch, over_stream):
            await over(server.url, strangers, calls // 50)
        before, found = resident(server.pid), await series(server.url)
        for over in (over_dispatch, over_stream):
            refused += await over(server.url, strangers, calls // 2)
        text = f"after {refused} calls of as many unknown methods by as many callers"
        report.goals += [
            Goal(f"lines of a scrape {text}, more than after the first", 0.0, await series(server.url) - found),
            Goal(f"MiB that the server has grown {text}", 2.0, (resident(server.pid) - before) / 2**20),
        ]


async def series(url: str) -> int:
    """How many lines a scrape of a server has."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        return len((await answer.text()).splitlines())
