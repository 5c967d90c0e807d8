"""aspyx-service beside it: how long until its client lists a server that starts, and no longer one that stops.

It looks every five seconds, and Consul looks after its servers every ten: its defaults.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import ROOT, free_port

SCRIPTS = ROOT / "tests" / "aspyx"
LONGEST = 60.0
CHANNEL = "dispatch-msgpack"


class Pace(NamedTuple):
    """How often its client looks, and Consul at its servers; seconds."""

    client: float
    check: float


DEFAULT, HURRIED = Pace(5.0, 10.0), Pace(0.5, 1.0)


class Found(NamedTuple):
    """Seconds of each server from its start, when it listened, and from its stop, until the client's list says so."""

    start: list[float]
    stop: list[float]


class Lister:
    """aspyx's client, and what it lists."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._urls: set[str] = set()
        self._at = 0.0
        self._changed = asyncio.Condition()

    async def read(self) -> None:
        """Take over every list that it prints."""
        assert self._process.stdout is not None
        while text := await self._process.stdout.readline():
            said = json.loads(text)
            assert said["alive"], "the watcher of aspyx's registry has died"
            async with self._changed:
                self._at, self._urls = said["at"], set(said["urls"])
                self._changed.notify_all()

    async def until(self, condition: Callable[[set[str]], bool]) -> float:
        """When it listed what is wanted."""
        async with asyncio.timeout(LONGEST), self._changed:
            await self._changed.wait_for(lambda: condition(self._urls))
            return self._at


async def seed_times(python: Path, consul: str, count: int, pace: Pace) -> Found:
    """So many servers start at any time, and stop at any time."""
    port = consul.rpartition(":")[2]
    async with AsyncExitStack() as stack:
        # Its client watches nothing before it knows a server; this one is not measured.
        await stack.enter_async_context(_server(python, port, Pace(pace.client, 1.0)))
        client = await stack.enter_async_context(_process(python, "consul_client.py", port, f"{pace.client:g}"))
        lister = Lister(client)
        reading = asyncio.create_task(lister.read())
        await lister.until(bool)

        async def start() -> tuple[asyncio.subprocess.Process, str, float]:
            await asyncio.sleep(random.uniform(0.0, pace.client))  # at any moment of its sleep
            process, url = await stack.enter_async_context(_server(python, port, pace))
            ready = time.monotonic()
            return process, url, await lister.until(lambda urls: url in urls) - ready

        async def stop(process: asyncio.subprocess.Process, url: str) -> float:
            await asyncio.sleep(random.uniform(0.0, pace.client))
            begun = time.monotonic()
            process.terminate()
            return await lister.until(lambda urls: url not in urls) - begun

        try:
            started = await asyncio.gather(*(start() for _ in range(count)))
            stopped = await asyncio.gather(*(stop(process, url) for process, url, _ in started))
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        return Found([took for _, _, took in started], list(stopped))


@asynccontextmanager
async def _server(python: Path, consul: str, pace: Pace) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    port = free_port()
    env = {"consul.healthcheck.interval": f"{pace.check:g}s"}
    async with _process(python, "server.py", str(port), consul, env=env) as process:
        assert process.stdout is not None
        async with asyncio.timeout(LONGEST):
            assert (await process.stdout.readline()).strip() == b"ready"
        yield process, f"{CHANNEL}(http://127.0.0.1:{port})"


@asynccontextmanager
async def _process(
    python: Path, script: str, *arguments: str, env: dict[str, str] | None = None
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """One of the scripts, which ends in good order; what it logs is of no interest."""
    process = await asyncio.create_subprocess_exec(
        *(python, SCRIPTS / script, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
