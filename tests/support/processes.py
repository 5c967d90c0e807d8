"""Real server processes for tests: started on free ports, stopped by pid."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[2]


_LOWEST, _HIGHEST = 10_000, 15_000  # below those of Consul's agents, see meshcore.testing.consul.agent
_given = set[int]()

QUICK_START = {"SSL_CERT_FILE": os.devnull}
"""Variables for processes that use no TLS: to read the authorities of the machine would take each of them 40 ms."""

_LONGEST_START = 60.0
"""Seconds. Much more than a server needs on a busy machine: who waits for so long is told what it printed."""

# The plugin that shuffles tests seeds the module's own generator, the same in all worker processes.
_chance = random.SystemRandom()


def free_port() -> int:
    """A port that was free a moment ago, and that no other test gets before its server binds it.

    None of those that the system gives out, to outgoing connections and to who binds port 0: a server takes seconds to
    start, and one that is restarted leaves its port free meanwhile.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ours = {port for port in range(_LOWEST, _HIGHEST) if port % workers == worker}
    while True:
        port = _chance.choice(sorted(ours - _given))
        _given.add(port)
        with suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port


def count_open(name: str) -> int:
    """How many files of this process that are open now have that in their name, such as "socket:"."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed while looking
            count += name in str(each.readlink())
    return count


@dataclass
class ServerProcess:
    """A running server.

    Attributes:
        process: the process.
        url: its address.
        log: what it printed so far.
    """

    process: asyncio.subprocess.Process
    url: str
    log: Path

    def output(self) -> str:
        """What it printed so far."""
        return self.log.read_text()

    async def until_logged(self, text: str, seconds: float = _LONGEST_START) -> None:
        """Return when the text was printed."""
        try:
            async with asyncio.timeout(seconds):
                while text not in self.output():
                    if self.process.returncode is not None:
                        raise AssertionError(f"the server ended without printing {text!r}:\n{self.output()}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{text!r} not printed after {seconds} s:\n{self.output()}") from None

    async def until_ready(self, seconds: float = _LONGEST_START) -> None:
        """Return when /readyz says so."""
        last = "no answer"
        try:
            async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
                while True:
                    if self.process.returncode is not None:
                        raise AssertionError(f"the server ended:\n{self.output()}")
                    try:
                        async with session.get(f"{self.url}/readyz") as response:
                            if response.status == 200:
                                return
                            last = f"{response.status}, {await response.text()}"
                    except aiohttp.ClientError as error:
                        last = repr(error)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not ready after {seconds} s, {last}:\n{self.output()}") from None

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs.

        Before Python 3.13.2 the process's own `send_signal` collects one that has just ended, and its status is lost
        to who waits for it (python/cpython#127049).
        """
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and return its exit status."""
        self.send(number)
        return await asyncio.wait_for(self.process.wait(), 20)


@asynccontextmanager
async def serve(
    folder: Path,
    module: str,
    *options: str,
    env: Mapping[str, str] | None = None,
    port: int | None = None,
    advertise: str | None = None,
    wait: bool = True,
    app: str = "meshcore.app:app",
    prefix: str = "",
) -> AsyncIterator[ServerProcess]:
    """A hypercorn process that serves meshcore.app:app; killed at the end if it still runs.

    Args:
        folder: for its log, and the registry's directory unless `env` says otherwise.
        module: the setting MESHCORE_MODULE.
        options: for hypercorn.
        env: further variables.
        port: to bind; default: a free one.
        advertise: the setting MESHCORE_ADVERTISE_URL; default: where it is bound.
        wait: whether to wait until it is ready.
        app: another application than meshcore.app:app.
        prefix: where that has the mesh mounted.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}{prefix}"
    log = folder / f"server-{port}.log"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MESHCORE_MODULE": module,
        "MESHCORE_ADVERTISE_URL": advertise or url,
        "MESHCORE_REGISTRY": f"directory://{folder}/registry",
        # What it refuses is a matter of how busy the machine is; the tests of overload ask for it.
        "MESHCORE_ADAPTIVE_LIMIT": "false",
        **QUICK_START,
        **(env or {}),
    }
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            # --workers 0: this very process serves; with 1 it starts another, which outlives its parent's SIGKILL.
            *(sys.executable, "-m", "hypercorn", "-b", f"127.0.0.1:{port}", "--workers", "0", *options),
            app,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
        )
    server = ServerProcess(process, url, log)
    try:
        if wait:
            await server.until_ready()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
