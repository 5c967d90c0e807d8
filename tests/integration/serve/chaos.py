"""The stage of chaos tests: three real instances, calls that go on, and a record of what became of each."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp.helpers import parse_mimetype

# What these keep for ever is no leak, wherever they are first used.
import meshcore.channels.direct
import meshcore.channels.rest
import meshcore.channels.stream
import meshcore.registry  # noqa: F401
from meshcore import Mesh, MeshError
from meshcore.ports.installed import make_identity_source
from tests.support.faulty import FaultyProxy, both_sides, faulty
from tests.support.processes import ServerProcess, count_open, serve
from tests.support.till import Till
from tests.support.till_client import CHANNELS, calling

SECURED = "TEST_CHAOS_SECURED" in os.environ
"""Set it to let all scenarios run with certificates."""

LOOK_TIMEOUT = 6.0
"""Of calls that can be repeated: so that an attempt that hangs can be overtaken within a short test."""

SELL_TIMEOUT = 0.6
"""Of calls that cannot: those that hang end at their deadline, and a short test should see many of them."""

TOLERANCE = 0.05
"""Seconds that a call may take beyond its deadline, not counting those in which the event loop got no turn."""

_PAUSE = 0.01
_TICK = 0.005
_OURS = ("meshcore", "aiohttp", "asyncio", "_asyncio")


class Done(NamedTuple):
    """A call that has ended.

    Attributes:
        channel: over which it was made.
        number: its argument.
        began: on the monotonic clock.
        ended: on the monotonic clock.
        timeout: what it had.
        pid: of the process that answered; None: it failed.
        error: if it failed.
    """

    channel: str
    number: int
    began: float
    ended: float
    timeout: float
    pid: int | None
    error: BaseException | None


class LoopWatch:
    """Measures how late the event loop runs its timers: what no call can be faster than, here and now."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []

    async def run(self) -> None:
        """Measure until cancelled."""
        due = time.monotonic()
        while True:
            due = max(due, time.monotonic()) + _TICK
            await asyncio.sleep(due - time.monotonic())
            now = time.monotonic()
            self._late.append((now, now - due))

    def lateness(self, began: float, ended: float) -> float:
        """How late the loop was in all within that time."""
        return sum(late for at, late in self._late if began <= at and at - late <= ended)

    @property
    def worst(self) -> float:
        """The longest that it was late."""
        return max((late for _, late in self._late), default=0.0)


class Chaos:
    """Three instances, each behind a proxy, and two meshes that call them. The first instance is the one to be sick.

    Attributes:
        servers: the processes.
        proxies: before each of them.
        looks: repeatable calls that have ended.
        sells: the others.
        watch: on the event loop.
    """

    def __init__(self, servers: list[ServerProcess], proxies: list[FaultyProxy], journal: Path) -> None:
        self.servers = servers
        self.proxies = proxies
        self.looks: list[Done] = []
        self.sells: list[Done] = []
        self.watch = LoopWatch()
        self._journal = journal
        self._numbers = count(1)
        self._stop = asyncio.Event()

    @property
    def sick(self) -> asyncio.subprocess.Process:
        """The process of the first instance."""
        return self.servers[0].process

    @property
    def proxy(self) -> FaultyProxy:
        """Before the first instance."""
        return self.proxies[0]

    async def load(self, look_mesh: Mesh, sell_mesh: Mesh) -> None:
        """Call until `stop`: over each channel two that repeat calls and two that must not."""
        watching = asyncio.create_task(self.watch.run())
        try:
            async with asyncio.TaskGroup() as group:
                for channel in CHANNELS:
                    looker = await look_mesh.get_service(Till, channel)
                    seller = await sell_mesh.get_service(Till, channel)
                    for _ in range(2):
                        group.create_task(self._go_on(channel, looker.look, self.looks, LOOK_TIMEOUT))
                        group.create_task(self._go_on(channel, seller.sell, self.sells, SELL_TIMEOUT))
        finally:
            watching.cancel()

    async def _go_on(self, channel: str, method: Any, done: list[Done], seconds: float) -> None:
        while not self._stop.is_set():
            number, began = next(self._numbers), time.monotonic()
            pid, error = None, None
            try:
                pid, answered = await method(number)
                if answered != number:
                    error = AssertionError(f"call {number} got the answer of {answered}")
            except Exception as failure:  # noqa: BLE001 - `check` judges it
                error = failure
            done.append(Done(channel, number, began, time.monotonic(), seconds, pid, error))
            await asyncio.sleep(_PAUSE)

    def stop(self) -> None:
        """Make no more calls."""
        self._stop.set()

    async def calls(self, number: int) -> None:
        """Return when so many more repeatable calls have been answered over every channel."""
        goal = len(self.looks)
        async with asyncio.timeout(40):
            while min(Counter(each.channel for each in self.looks[goal:]).get(name, 0) for name in CHANNELS) < number:
                await asyncio.sleep(_PAUSE)

    async def avoided(self, share: float, sick: int = 1, of: int = 25) -> None:
        """Return when of so many calls over each channel the sick instances got less than that share each.

        Awaited and not measured once: on a busy machine this process stalls, and then all instances look slow to it.
        """
        asked = calls = 0
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            asked_before, calls_before = self._asked(sick), len(self.looks) + len(self.sells)
            await self.calls(of)
            asked, calls = self._asked(sick) - asked_before, len(self.looks) + len(self.sells) - calls_before
            if asked < share * sick * calls:
                return
        raise AssertionError(f"{self.proxy.fault}: {asked} of {calls} calls went to the sick")

    def _asked(self, sick: int) -> int:
        return sum(each.requests for each in self.proxies[:sick])

    async def recovered(self, share: float, of: int = 60, seconds: float = 40.0) -> None:
        """Return when the instance that was sick answered at least such a share of the latest repeatable calls."""
        goal = len(self.looks) + of
        async with asyncio.timeout(seconds):
            while len(self.looks) < goal or sum(each.pid == self.sick.pid for each in self.looks[-of:]) < share * of:
                await asyncio.sleep(_PAUSE)

    def check(self) -> None:
        """What holds in every scenario: of calls that repeat none fails, the others at most once each, all in time."""
        failed = [each for each in self.looks if each.error is not None]
        tried = [(each, getattr(each.error, "attempts", ())) for each in failed[:3]]
        assert not failed, f"{len(failed)} of {len(self.looks)} repeatable calls failed: {tried}"
        for each in self.sells:
            assert each.error is None or isinstance(each.error, MeshError), each
            assert each.error is None or each.error.message, each
        for each in (*self.looks, *self.sells):
            over = each.ended - each.began - each.timeout
            if over > TOLERANCE:
                stalled = self.watch.lateness(each.ended - over - _TICK, each.ended)
                assert over - stalled <= TOLERANCE, f"{over:.3f} s too late, of which the loop {stalled:.3f} s: {each}"
        executed = Counter(self._journal.read_text().split())
        assert not [number for number, times in executed.items() if times > 1], executed.most_common(3)
        for each in self.sells:
            if each.error is None:
                assert executed[str(each.number)] == 1, each
            elif not each.error.processed:
                assert executed[str(each.number)] == 0, each


@asynccontextmanager
async def chaos(folder: Path, *, secured: bool = SECURED) -> AsyncIterator[Chaos]:
    """Three instances and calls to them, made before the block, in it and after it; `check` is called at its end.

    Args:
        folder: for logs.
        secured: whether all prove who they are by certificates. Then the proxies end TLS, and open it anew.
    """
    journal = folder / "journal"
    journal.touch()
    env = {
        "TILL_JOURNAL": str(journal),
        "MESHCORE_VERIFY_ADVERTISE": "false",
    }
    options, identity, tls = (), "none", None
    if secured:
        identity = env["MESHCORE_IDENTITY"] = f"dev:{folder}/identity"
        options = ("--config", "python:meshcore.serve.tls.hypercorn")
        (credentials,) = await make_identity_source(identity).open(["till"])
        tls = both_sides(credentials)
    async with AsyncExitStack() as stack:
        starting = [serve(folder, "tests.support.till:TillModule", *options, env=env, wait=False) for _ in range(3)]
        servers = [await stack.enter_async_context(each) for each in starting]
        await asyncio.gather(*(each.until_ready() for each in servers))
        proxies = [await stack.enter_async_context(faulty(each.url, tls)) for each in servers]
        urls = [each.url for each in proxies]
        scene = Chaos(servers, proxies, journal)
        async with (
            calling(folder, *urls, timeout=LOOK_TIMEOUT, identity=identity) as looking,
            calling(folder, *urls, timeout=SELL_TIMEOUT, identity=identity) as selling,
        ):
            load = asyncio.create_task(scene.load(looking, selling))
            try:
                await scene.calls(20)
                yield scene
                await scene.calls(10)
            finally:
                scene.stop()
                await load
    scene.check()
    assert all(each.streamed for each in proxies), "calls over the stream did not take it"


async def fill_executor() -> None:
    """Let the event loop's executor start all its threads, which stay as long as the loop."""
    await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.02) for _ in range(64)))


async def census() -> Counter[str]:
    """Objects of the mesh's, aiohttp's and asyncio's classes by class, tasks, sockets and threads."""
    await asyncio.sleep(0)  # so that this very task always waits in the same way
    parse_mimetype.cache_clear()  # of the content types of errors, which come in one test and not in another
    gc.collect()
    found: Counter[str] = Counter()
    for each in gc.get_objects():
        cls = type(each)
        if str(cls.__module__).split(".", 1)[0] in _OURS:  # of some C types it is a descriptor
            found[f"{cls.__module__}.{cls.__qualname__}"] += 1
    found["tasks"] = len(asyncio.all_tasks())
    found["threads"] = threading.active_count()
    found["native threads"] = _native_threads()
    found["sockets"] = count_open("socket:")
    return found


def _native_threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


async def grown(before: Counter[str], seconds: float = 3.0) -> Counter[str]:
    """What is there more of than before, once nothing more goes away within that time."""
    give_up = time.monotonic() + seconds
    while (more := await census() - before) and time.monotonic() < give_up:
        await asyncio.sleep(0.1)
    return more
