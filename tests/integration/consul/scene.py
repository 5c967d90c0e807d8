"""Servers that announce themselves in a real Consul, and a client that calls them while things go wrong."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from meshcore import Call, Handler, Interceptors, Mesh, create, load_settings, module
from meshcore.core.attempt import Attempt
from meshcore.registry.consul.api.client import ConsulClient
from meshcore.registry.consul.api.config import read_config
from meshcore.testing import ConsulAgent, consul_agent
from tests.support.ledger import Ledger, LedgerComponent
from tests.support.processes import ServerProcess, serve

CACHE = Path(__file__).parents[3] / ".cache"
CHANNELS = ("dispatch-json", "dispatch-msgpack", "rest")


def to(agent: ConsulAgent, token: str = "") -> ConsulClient:
    """A client of one's own."""
    return ConsulClient(read_config(agent.url, {"token": token}))


def setting(url: str, **options: str) -> str:
    """The setting `registry` for the Consul at that URL, with the options that are not empty."""
    given = urlencode({name: value for name, value in options.items() if value})
    return f"consul://{url.removeprefix('http://')}?{given}".removesuffix("?")


@asynccontextmanager
async def server(
    folder: Path, agent: ConsulAgent, *, url: str = "", token: str = "", check: str = "", wait: bool = True
) -> AsyncIterator[ServerProcess]:
    """A process that serves the ledger and announces it.

    Args:
        folder: for its log and its ledger.
        agent: where it is announced.
        url: where it finds the agent; default: where the agent is.
        token: its ACL token.
        check: how Consul knows of its health, "http" or "ttl"; default: the registry's own.
        wait: whether to wait until it is announced.
    """
    env = {"MESHCORE_REGISTRY": setting(url or agent.url, token=token, check=check), "LEDGER_FOLDER": str(folder)}
    async with serve(folder, "tests.support.ledger:LedgerModule", env=env, wait=wait) as process:
        yield process


class Notes:
    """What a test measures: for its report, and printed (`pytest -rP`)."""

    def __init__(self, record_property: Callable[[str, object], None]) -> None:
        self._record = record_property

    def __call__(self, name: str, value: float) -> float:
        """Note a number, by default seconds, and return it."""
        self._record(name, round(value, 3))
        print(f"{name}: {value:.3g}")  # noqa: T201 - it is the result
        return value


@module(components=[LedgerComponent])
class WatchedClient:
    """The client's module; what stands around its calls comes by an override."""

    @create()
    def interceptors(self) -> Interceptors:
        return Interceptors()


class Load:
    """Callers without a pause, and the record of what became of their calls.

    Attributes:
        answered: how many calls were, by method.
        numbers: which writes were answered.
        failures: the others, in words.
        slowest: seconds that a call took at most.
    """

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.numbers: list[int] = []
        self.failures: list[str] = []
        self.slowest = 0.0
        self.running = True
        self._next = itertools.count()
        self._trails: list[list[Attempt]] = []

    async def keep_trail(self, handler: Handler, call: Call) -> Any:
        """An interceptor that keeps what was tried for each call."""
        self._trails.append(call.trail)
        return await handler(call)

    def attempts(self, instance: str, since: float = 0.0) -> list[Attempt]:
        """What was sent to an instance since then."""
        return [each for trail in self._trails for each in trail if each.instance == instance and each.began >= since]

    async def call(self, name: str, method: Callable[[int], Any]) -> None:
        """Call until told to stop."""
        self.answered[name] += 0
        while self.running:
            number, begun = next(self._next), time.monotonic()
            try:
                answer = await method(number)
                assert answer == number, f"{number} got the answer of {answer}"
                self.answered[name] += 1
                if name != "read":
                    self.numbers.append(number)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                tried = [str(each) for each in getattr(error, "attempts", ())]
                self.failures.append(
                    f"{name} {number}: {error!r}, processed: {getattr(error, 'processed', '')}, {tried}"
                )
            self.slowest = max(self.slowest, time.monotonic() - begun)
            await asyncio.sleep(0.005)

    async def more(self, calls: int = 50, seconds: float = 20.0) -> None:
        """Return when so many more calls of each method were answered."""
        await asyncio.sleep(0)  # callers that were just started say whom they call
        goals = {name: count + calls for name, count in self.answered.items()}
        async with asyncio.timeout(seconds):
            while any(self.answered[name] < goal for name, goal in goals.items()):
                self.check()
                await asyncio.sleep(0.01)
        self.check()

    def check(self) -> None:
        """No call may fail."""
        assert not self.failures, "\n".join([f"{len(self.failures)} calls failed", *self.failures[:5]])


@dataclass
class Scene:
    """Servers, a client that calls them all the time, and what they meet in.

    Attributes:
        folder: of the logs and ledgers.
        agent: all use it.
        servers: the first ones.
        mesh: the client's.
        load: its calls.
        note: writes numbers down.
        token: to look with.
    """

    folder: Path
    agent: ConsulAgent
    servers: list[ServerProcess]
    mesh: Mesh
    load: Load
    note: Notes
    token: str
    _stack: AsyncExitStack

    async def start(self, **options: Any) -> ServerProcess:
        """One more server; for options see `server`."""
        return await self._stack.enter_async_context(server(self.folder, self.agent, **options))

    @property
    def known(self) -> Mapping[str, str]:
        """The URLs of the instances that the client knows, by their ids."""
        return {
            each.id: each.addresses[0].url for each in self.mesh.runtime.destinations.by_component["ledger"].instances
        }

    def id_of(self, server: ServerProcess) -> str:
        """The id of a server that the client knows."""
        (found,) = (name for name, url in self.known.items() if url == server.url)
        return found

    async def until_passing(self, count: int, seconds: float = 10.0) -> float:
        """Return when Consul lists so many as passing, and how long that took."""
        begun = time.monotonic()
        async with asyncio.timeout(seconds), to(self.agent, self.token) as client:
            while True:
                found = await client.health("ledger")
                if sum({check.status for check in each.checks} == {"passing"} for each in found.entries) == count:
                    return time.monotonic() - begun
                await asyncio.sleep(0.02)

    async def until_known(self, servers: int | Collection[ServerProcess], seconds: float = 10.0) -> float:
        """Return when the client knows of so many, or exactly of these, and how long that took."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                while not self._knows(servers):
                    self.load.check()
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"after {seconds} s the client knows {self.known}") from None
        return time.monotonic() - begun

    def _knows(self, servers: int | Collection[ServerProcess]) -> bool:
        if isinstance(servers, int):
            return len(self.known) == servers
        return sorted(self.known.values()) == sorted(server.url for server in servers)


@asynccontextmanager
async def scene(
    folder: Path,
    note: Notes,
    *,
    keeps_data: bool = False,
    servers: int = 2,
    writes: Collection[str] = (),
    channels: Collection[str] = CHANNELS,
    agent: ConsulAgent | None = None,
    url: str = "",
    client_url: str = "",
    token: str = "",
    client_token: str = "",
    master: str = "",
    check: str = "",
) -> AsyncIterator[Scene]:
    """Calls go on during the block, and none of them may fail.

    Args:
        folder: for logs and ledgers.
        note: writes down what is measured.
        keeps_data: the agent's.
        servers: how many there are at first.
        writes: methods of the ledger that are called as well, beside the reads: they are no repeatable calls.
        channels: over which is called.
        agent: one that runs; default: a new one.
        url: where servers find it; default: where it is.
        client_url: where the client finds it; default: where it is.
        token: of the servers.
        client_token: of the client.
        master: the token to look with.
        check: how Consul knows of the servers' health.
    """
    async with AsyncExitStack() as stack:
        agent = agent or await stack.enter_async_context(consul_agent(cache=CACHE, keeps_data=keeps_data))
        load = Load()
        one = partial(server, folder, agent, url=url, token=token, check=check)
        starting = (stack.enter_async_context(one()) for _ in range(servers))
        started = await asyncio.gather(*starting)
        settings = load_settings(
            {"registry": setting(client_url or agent.url, token=client_token)}, environ={}, directory=folder
        )
        overrides = {Interceptors: Interceptors(client=[load.keep_trail])}
        mesh = await stack.enter_async_context(Mesh(WatchedClient, settings=settings, overrides=overrides))
        await mesh.wait_for(Ledger)
        tasks: list[asyncio.Task[None]] = []
        for channel in channels:
            ledger = await mesh.get_service(Ledger, channel)
            tasks += [asyncio.create_task(load.call(name, getattr(ledger, name))) for name in ("read", *writes)]
        try:
            acted = Scene(folder, agent, list(started), mesh, load, note, master, stack)
            await acted.until_known(servers)
            await load.more()
            yield acted
            await load.more()
        finally:
            load.running = False
            await asyncio.gather(*tasks)
        load.check()
        note("calls", load.answered.total())
        note("slowest_call_seconds", load.slowest)
        check_ledger(folder, load)


def check_ledger(folder: Path, load: Load) -> None:
    """What was answered was written once, and nothing else was written."""
    written = Counter(int(line) for path in folder.glob("*.ledger") for line in path.read_text().splitlines())
    assert sorted(written) == sorted(load.numbers)
    assert set(written.values()) <= {1}
