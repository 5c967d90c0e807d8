"""Servers that are stopped and started again under load, by every way of serving: no call may notice.

`ROLLING_ROUNDS=10 pytest tests/integration/test_rolling_restart.py -s` is the long form, and prints what it counted.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest

from meshcore import Code, Mesh, MeshError, load_settings
from meshcore.serve.mesh_app import _QUIET
from tests.support.ledger import LET_GO, Ledger
from tests.support.ledger_client import LedgerClient
from tests.support.processes import QUICK_START, ROOT, ServerProcess, free_port

ROUNDS = int(os.environ.get("ROLLING_ROUNDS", "1"))
CHANNELS = ("dispatch-json", "dispatch-msgpack", "rest", "stream-msgpack")
CALLERS = 3
PAUSE = 0.02  # seconds; there are hundreds of calls for each restart, and the servers still find time to start
MODULE = "tests.support.ledger:LedgerModule"

RUN = ("-m", "meshcore.cli", "run", MODULE, "--bind")
HYPERCORN = ("-m", "hypercorn", "meshcore.app:app", "--bind")
WAYS = {
    "run": RUN,
    "run, 2 workers": (*RUN[:-1], "--workers", "2", "--bind"),
    "hypercorn, no worker": (*HYPERCORN[:-1], "--workers", "0", "--bind"),
    "hypercorn, no worker, uvloop": (*HYPERCORN[:-1], "--workers", "0", "--worker-class", "uvloop", "--bind"),
    "hypercorn": HYPERCORN,
    "hypercorn, 2 workers": (*HYPERCORN[:-1], "--workers", "2", "--bind"),
}
# Where a single process serves: what matters of a version of Python shows there.
PLAIN = ("run", "hypercorn, no worker")
MOUNTED = {"hypercorn, mounted": ("-m", "hypercorn", "tests.support.mounted:ledger_app", "--bind")}


def each(ways: dict[str, tuple[str, ...]]) -> pytest.MarkDecorator:
    """A test for each of the ways."""
    return pytest.mark.parametrize(
        "way",
        [
            pytest.param(words, id=name, marks=[] if name in PLAIN else [pytest.mark.long])
            for name, words in ways.items()
        ],
    )


@asynccontextmanager
async def serving(folder: Path, way: tuple[str, ...], port: int, **env: str) -> AsyncIterator[ServerProcess]:
    """A server that is ready; what is left of its processes is killed in the end."""
    url = f"http://127.0.0.1:{port}"
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MESHCORE_MODULE": MODULE,
        "MESHCORE_ADVERTISE_URL": url,
        "MESHCORE_REGISTRY": f"directory://{folder}/registry",
        # What it refuses is a matter of how busy the machine is.
        "MESHCORE_ADAPTIVE_LIMIT": "false",
        "LEDGER_FOLDER": str(folder),
        **QUICK_START,
        **env,
    }
    log = folder / f"server-{port}.log"
    # Who is killed leaves the folder of its workers there. It is a short one, for the paths of sockets in it.
    with TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        with log.open("a") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *way, f"127.0.0.1:{port}"),
                cwd=folder,
                env={**environ, "TMPDIR": temporary},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        server = ServerProcess(process, url, log)
        try:
            await server.until_ready()
            yield server
        finally:
            # The group outlives its leader if workers do, and then the number is still ours.
            if _lives(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def client(folder: Path, **arguments: object) -> Mesh:
    """A mesh that finds the servers of the same folder."""
    settings = load_settings({"registry": f"directory://{folder}/registry", **arguments}, environ={}, directory=folder)
    return Mesh(LedgerClient, settings=settings)


class Load:
    """Callers on every channel that write and read again and again until they are told to stop."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.answered: list[int] = []
        self.reads = 0
        self.failures: list[str] = []
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def on(self, mesh: Mesh) -> AsyncIterator[None]:
        """Calls go on during the block."""
        async with asyncio.TaskGroup() as group:
            for channel in CHANNELS:
                ledger = await mesh.get_service(Ledger, channel)
                for _ in range(CALLERS):
                    group.create_task(self._call(channel, ledger))
            try:
                yield
            finally:
                self._stop.set()

    async def _call(self, channel: str, ledger: Ledger) -> None:
        while not self._stop.is_set():
            number = next(self.numbers)
            try:
                self.answered.append(await ledger.write(number))
                assert await ledger.read(number) == number
                self.reads += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.failures.append(f"{channel}: {number}: {error!r} (processed: {getattr(error, 'processed', '')})")
            await asyncio.sleep(PAUSE)

    async def more(self, writes: int) -> None:
        """Return when so many more writes were answered."""
        goal = len(self.answered) + writes
        async with asyncio.timeout(20):
            while len(self.answered) < goal:
                await asyncio.sleep(0.01)


def marked(folder: Path, kind: str) -> set[str]:
    """The ids of the processes that left such a mark."""
    return {path.stem for path in folder.glob(f"*.{kind}")}


def written(folder: Path) -> Counter[int]:
    """How often each number stands in the ledgers of all processes that there were."""
    return Counter(int(line) for path in folder.glob("*.ledger") for line in path.read_text().splitlines())


@dataclass
class Held:
    """A server, and a call that it runs."""

    server: ServerProcess
    call: asyncio.Task[int]

    def let_go(self) -> None:
        """Let the call end."""
        (self.server.log.parent / LET_GO).touch()


def announced(folder: Path) -> int:
    """How many instances the registry has."""
    return len(list((folder / "registry").glob("*.json")))


# One worker of hypercorn is a process like one of two.
@each({name: way for name, way in WAYS.items() if name != "hypercorn"})
@pytest.mark.one_python
@pytest.mark.timeout(180 + 60 * ROUNDS)
async def test_a_rolling_restart_fails_no_call(tmp_path: Path, way: tuple[str, ...]) -> None:
    """Two servers are restarted one after the other under load: no call fails, and no write is lost or done twice."""
    ports = [free_port() for _ in range(2)]
    load = Load()
    async with AsyncExitStack() as stack, client(tmp_path) as mesh:
        servers = dict(
            zip(
                ports,
                await asyncio.gather(*(stack.enter_async_context(serving(tmp_path, way, port)) for port in ports)),
                strict=True,
            )
        )
        await mesh.wait_for(Ledger)  # a start is seen within 0.2 s
        async with load.on(mesh):
            for _, port in itertools.product(range(ROUNDS), ports):
                await load.more(50)
                assert await servers[port].stop() == 0
                servers[port] = await stack.enter_async_context(serving(tmp_path, way, port))
            await load.more(50)
    assert not load.failures, "\n".join(load.failures)
    entries = written(tmp_path)
    assert set(entries) == set(load.answered)
    assert set(entries.values()) == {1}
    for server in servers.values():
        assert "Traceback" not in server.output()
    print(  # noqa: T201 - the result of the long form
        f"\n{ROUNDS} rounds, {2 * ROUNDS} restarts: {len(load.answered)} writes, {load.reads} reads, 0 failed"
    )


@asynccontextmanager
async def with_a_long_call(folder: Path, way: tuple[str, ...]) -> AsyncIterator[Held]:
    """A server that runs a call which lasts longer than the test, unless it is let go."""
    port, processes = free_port(), 2 if "2" in way else 1
    async with serving(folder, way, port) as server, client(folder, timeout=60.0) as mesh:
        await mesh.wait_for(Ledger)
        ledger = await mesh.get_service(Ledger, "dispatch-json")
        call = asyncio.create_task(ledger.hold(50.0))
        # All of them: one that is told to end while it starts may not hear that it is told twice.
        while not marked(folder, "held") or announced(folder) < processes:
            await asyncio.sleep(0.01)
        try:
            yield Held(server, call)
        finally:
            call.cancel()
            await asyncio.wait([call])


async def until_not_ready(server: ServerProcess) -> None:
    """Return when all processes of the server have begun to stop: they say so, and are withdrawn.

    A signal that is sent again to a process that had no turn since would count once.
    """
    async with asyncio.timeout(10), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{server.url}/readyz") as response:
                if response.status == 503 and not announced(server.log.parent):
                    return
            await asyncio.sleep(0.01)


async def until_refused(server: ServerProcess) -> aiohttp.ClientResponse:
    """The first answer that refuses a call because the server stops."""
    async with asyncio.timeout(10), aiohttp.ClientSession() as session:
        while True:
            async with session.post(f"{server.url}/ledger/entries/7") as response:
                await response.read()
                if response.status != 200:
                    return response


@each(WAYS | MOUNTED)
async def test_a_call_in_progress_is_waited_for(tmp_path: Path, way: tuple[str, ...]) -> None:
    """After SIGTERM a call ends as if nothing were; new ones are served, then refused unprocessed, all the while."""
    async with with_a_long_call(tmp_path, way) as held:
        held.server.send(signal.SIGTERM)
        await until_not_ready(held.server)
        refused = await until_refused(held.server)
        assert refused.status == 503
        assert refused.headers["connection"] == "close"
        assert (await refused.json())["processed"] is False
        assert not held.call.done()
        held.let_go()
        assert await held.call > 0
        assert await asyncio.wait_for(held.server.process.wait(), 10) == 0
        assert stopped_in_order(tmp_path)


@pytest.mark.one_python
@pytest.mark.parametrize("name", ["run", "hypercorn, no worker", "hypercorn"])
async def test_who_has_not_heard_of_the_stop_is_refused(tmp_path: Path, name: str) -> None:
    """As long as calls come a stopping server refuses them, rather than close connections on which they are sent."""
    async with serving(tmp_path, WAYS[name], free_port()) as server, aiohttp.ClientSession() as session:
        server.send(signal.SIGTERM)
        began = refused = 0.0
        while not refused or began - refused < 4 * _QUIET:
            last, began = began, time.monotonic()
            try:
                async with session.post(f"{server.url}/ledger/entries/7") as response:
                    status = response.status
            except aiohttp.ClientError:
                # Quiet it was, then, since the machine did something else; the last call began even before.
                assert time.monotonic() - last > _QUIET
                break
            assert status == 503 or not refused
            if status == 503:
                refused = refused or began
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(server.process.wait(), 10) == 0


@each(WAYS)
@pytest.mark.one_python
async def test_a_second_sigterm_means_now(tmp_path: Path, way: tuple[str, ...]) -> None:
    """Asked twice, a server stops its calls, says so to their callers, and still cleans up."""
    async with with_a_long_call(tmp_path, way) as held:
        held.server.send(signal.SIGTERM)
        await until_not_ready(held.server)
        held.server.send(signal.SIGTERM)
        if way is WAYS["hypercorn, 2 workers"]:
            # All have to have looked at the one event that hypercorn tells them by before it can tell them again.
            # When that is, nobody can see from outside: so do as whoever is in a hurry does.
            # Not after the call has ended: a process that ends has no handlers any more, and SIGTERM would kill it.
            while not (await asyncio.wait([held.call], timeout=0.5))[0]:
                held.server.send(signal.SIGTERM)
        await ended_at_once(held, way)
        assert stopped_in_order(tmp_path)


@pytest.mark.one_python
@pytest.mark.parametrize("name", ["run", "run, 2 workers", "hypercorn, no worker", "hypercorn"])
async def test_ctrl_c_twice_means_now(tmp_path: Path, name: str) -> None:
    """A terminal sends SIGINT to all processes: the first time they stop in order, the second time at once."""
    way = WAYS[name]
    async with with_a_long_call(tmp_path, way) as held:
        os.killpg(held.server.process.pid, signal.SIGINT)
        await until_not_ready(held.server)
        await until_refused(held.server)
        assert not held.call.done()
        os.killpg(held.server.process.pid, signal.SIGINT)
        await ended_at_once(held, way)
        assert stopped_in_order(tmp_path)


async def ended_at_once(held: Held, way: tuple[str, ...]) -> None:
    """Wait for the end, which must not be far."""
    async with asyncio.timeout(15):  # less than calls are granted
        status = await held.server.process.wait()
    # `meshcore run` says that calls were cut off; hypercorn has no word for it.
    assert status == (1 if "run" in way else 0), held.server.output()
    with pytest.raises(MeshError) as cut:
        await held.call
    assert cut.value.code is Code.UNAVAILABLE


def stopped_in_order(folder: Path) -> bool:
    """Whether all processes that served have shut their components down."""
    return marked(folder, "started") == marked(folder, "stopped")


@pytest.mark.parametrize("name", ["hypercorn, no worker", "hypercorn"])
async def test_a_client_that_never_ends_its_request_does_not_hold_the_server(tmp_path: Path, name: str) -> None:
    """An upload that hangs is cut off: from Python 3.12 on hypercorn alone would wait for it without bound."""
    port = free_port()
    async with serving(tmp_path, WAYS[name], port) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"POST /invoke HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        writer.write(head)
        await writer.drain()
        assert await server.stop() == 0
        assert stopped_in_order(tmp_path)
        writer.close()
