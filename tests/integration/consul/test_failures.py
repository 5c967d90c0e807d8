"""What goes wrong around Consul while calls go on: none that can be repeated may fail.

`ROLLING_ROUNDS=10 pytest tests/integration/test_consul_failures.py -rP` has the long form of the rolling restart; `-rP`
prints what was measured.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from meshcore.core.errors import CommunicationError
from meshcore.core.policy import DEFAULTS
from meshcore.registry.consul.api.client import ConsulClient
from meshcore.registry.consul.api.config import read_config
from meshcore.registry.consul.api.types import Check, Registration
from meshcore.registry.consul.machines.blocking_query import GAP
from meshcore.testing import ConsulAgent, consul_agent
from tests.integration.consul.scene import CACHE, Notes, Scene, scene, to
from tests.support.faulty import Fault, FaultyProxy, faulty
from tests.support.processes import ROOT

pytestmark = pytest.mark.long

ROUNDS = int(os.environ.get("ROLLING_ROUNDS", "1"))


@pytest.fixture
def note(record_property) -> Notes:
    """Writes numbers down."""
    return Notes(record_property)


@pytest.mark.parametrize("check", ["http", "ttl"])
async def test_an_instance_is_killed(tmp_path, note, check):
    """Calls leave it at the first refused connections, long before its check fails, and then it is forgotten."""
    async with scene(tmp_path, note, check=check) as acted:
        dead, other = acted.servers
        await acted.until_known(acted.servers)  # one of them may just have missed a check
        name, killed = acted.id_of(dead), time.monotonic()
        dead.process.kill()
        await acted.until_known([other])
        note("forgotten_seconds", time.monotonic() - killed)
        await acted.load.more()
        tried = acted.load.attempts(name, killed)
        first = [each for each in tried if each.began - killed < DEFAULTS.ejection / 2]
        note("attempts_after_kill", len(tried))
        note("last_before_probes_seconds", max((each.began - killed for each in first), default=0.0))
        # So many eject it; each caller may have one on the way by then; and a few probes come until it is forgotten.
        assert len(tried) <= DEFAULTS.consecutive_failures + 3 + 5


async def test_an_instance_is_stopped(tmp_path, note):
    """No call fails, also none that must not be repeated, and the client knows at once, not by a missed check."""
    async with scene(tmp_path, note, writes=["write", "book"]) as acted:
        leaving, other = acted.servers
        stopping = asyncio.create_task(leaving.stop())
        assert note("known_seconds", await acted.until_known([other])) < 1.5
        begun = time.monotonic()
        assert await stopping == 0
        note("ended_seconds", time.monotonic() - begun)


@pytest.mark.parametrize("check", ["http", "ttl"])
async def test_an_instance_hangs(tmp_path, note, check):
    """It is left out when its check fails, calls are overtaken until then, and it is taken back when it goes on."""
    async with scene(tmp_path, note, check=check) as acted:
        hanging, other = acted.servers
        await asyncio.sleep(3.2)  # a client learns every three seconds how long calls take, and then what is too long
        await acted.until_known(acted.servers)  # one of them may just have missed a check
        name, begun = acted.id_of(hanging), time.monotonic()
        hanging.send(signal.SIGSTOP)
        try:
            note("left_out_seconds", await acted.until_known([other]))
            await acted.load.more()
            note("attempts_while_hanging", len(acted.load.attempts(name, begun)))
        finally:
            hanging.send(signal.SIGCONT)
        note("taken_back_seconds", await acted.until_known(acted.servers))
        await acted.load.more()


@pytest.mark.parametrize("keeps_data", [True, False], ids=["with its data", "without its data"])
async def test_an_agent_is_restarted(tmp_path, note, keeps_data):
    """No call fails; the servers are registered again by themselves, and who starts then is found."""
    async with scene(tmp_path, note, keeps_data=keeps_data) as acted:
        await acted.until_known(acted.servers)  # what is known now has to stay
        await (acted.agent.stop() if keeps_data else acted.agent.kill())
        await asyncio.sleep(0.5)  # it is gone for a while, and that is the point
        await acted.load.more()
        assert len(acted.known) == 2
        await acted.agent.start()
        assert note("registered_seconds", await acted.until_passing(2)) < 5
        await acted.until_known(acted.servers)
        third = await acted.start()
        note("newcomer_known_after_ready_seconds", await acted.until_known([*acted.servers, third]))
        await acted.load.more()
        stopping = asyncio.create_task(third.stop())
        await acted.until_known(acted.servers)
        await stopping


async def test_an_agent_is_frozen(tmp_path, note):
    """For longer than checks may be missed: no call fails, and all are passing when it goes on."""
    async with scene(tmp_path, note) as acted:
        await acted.until_known(acted.servers)  # what is known now has to stay
        acted.agent.freeze()
        await asyncio.sleep(3.5)
        await acted.load.more()
        assert len(acted.known) == 2
        acted.agent.thaw()
        note("registered_seconds", await acted.until_passing(2))
        await acted.until_known(acted.servers)


@pytest.mark.long(80)
@pytest.mark.timeout(300)
async def test_an_agent_is_gone_for_a_minute(tmp_path, note):
    """Whoever dies or stops meanwhile is avoided, whoever starts is found afterwards; the truth is known in the end."""
    async with scene(tmp_path, note, servers=4, keeps_data=True) as acted:
        one, two, killed, stopped = acted.servers
        await acted.until_known(acted.servers)  # what is known now has to stay
        gone = time.monotonic()
        await acted.agent.kill()
        await asyncio.sleep(5)  # long enough for everybody to back off
        name, dead = acted.id_of(killed), time.monotonic()
        killed.process.kill()
        await acted.load.more(200)
        assert await stopped.stop() == 0
        await acted.load.more(200)
        fresh = await acted.start(wait=False)
        await fresh.until_logged("failed, trying again")
        await asyncio.sleep(gone + 60 - time.monotonic())
        assert len(acted.known) == 4
        tried = acted.load.attempts(name, dead)
        note("attempts_on_the_killed", len(tried))
        assert len(tried) < 40
        back = time.monotonic()
        await acted.agent.start()
        note("agent_ready_seconds", time.monotonic() - back)
        back = time.monotonic()
        await fresh.until_ready()
        note("newcomer_ready_seconds", time.monotonic() - back)
        await acted.until_known([one, two, fresh], 30)
        note("truth_known_seconds", time.monotonic() - back)
        name = acted.id_of(fresh)
        await acted.load.more()
        assert acted.load.attempts(name, back)


@pytest.mark.timeout(180 + 40 * ROUNDS)
async def test_a_rolling_restart(tmp_path, note):
    """Three servers are restarted one after the other: no call fails, and no write is lost or done twice."""
    async with scene(tmp_path, note, servers=3, writes=["write", "book"]) as acted:
        servers, begun = list(acted.servers), time.monotonic()
        for _, place in itertools.product(range(ROUNDS), range(3)):
            await acted.load.more()
            assert await servers[place].stop() == 0
            servers[place] = await acted.start()
            await acted.until_known(servers)
        note("restarts", 3 * ROUNDS)
        note("seconds_per_restart", (time.monotonic() - begun) / 3 / ROUNDS)
        for each in acted.load.answered.items():
            note(*each)
        for each in (*acted.servers, *servers):
            assert "Traceback" not in each.output()


async def wake(acted: Scene, *, there: bool) -> None:
    """End the query that waits, by something under the name of the component that is none and is left out."""
    async with to(acted.agent, acted.token) as client:
        if there:
            check = Check("other", "passing", ttl="60s")
            await client.register(Registration(id="other", name="ledger", check=check))
        else:
            await client.deregister("other")


async def asked(proxy: FaultyProxy, times: int, seconds: float = 20.0) -> None:
    """Return when Consul was asked so often in all."""
    async with asyncio.timeout(seconds):
        while proxy.requests < times:
            await asyncio.sleep(0.01)


@pytest.mark.timeout(300)
async def test_consul_talks_nonsense(tmp_path, note):
    """To client and servers, in every way: what is known stays in use, and what comes afterwards is seen."""
    async with (
        consul_agent(cache=CACHE) as agent,
        faulty(agent.url) as ours,
        faulty(agent.url) as theirs,
        scene(tmp_path, note, agent=agent, url=theirs.url, client_url=ours.url) as acted,
    ):
        for fault in (
            Fault.NOT_HTTP,
            Fault.NOT_OURS,
            Fault.EMPTY,
            Fault.TRUNCATED,
            Fault.SERVER_ERROR,
            Fault.TOO_MANY,
            Fault.GUSHING,
            Fault.ENDLESS,
            Fault.SILENT,
        ):
            await acted.until_known(acted.servers)  # what is known now has to stay
            before, begun = ours.requests, time.monotonic()
            for proxy in (ours, theirs):
                proxy.suffer(fault)
            await wake(acted, there=True)
            # The second question says that the first was given up.
            await asked(ours, before + (1 if fault is Fault.ENDLESS else 2))
            note(f"{fault.name.lower()}_asked_again_seconds", time.monotonic() - begun)
            await acted.load.more()
            assert len(acted.known) == 2
            before = ours.requests
            for proxy in (ours, theirs):
                proxy.recover()
            await asked(ours, before + 1)
            await wake(acted, there=False)
            await acted.until_known(acted.servers)
        await acted.until_passing(2)
        third = await acted.start()
        note("newcomer_known_after_ready_seconds", await acted.until_known([*acted.servers, third]))


@pytest.mark.parametrize("watch", [True, False], ids=["a watch", "anything else"])
@pytest.mark.parametrize("fault", [Fault.GUSHING, Fault.ENDLESS, Fault.SILENT, Fault.DEAF], ids=lambda each: each.name)
async def test_no_answer_takes_more_than_its_bounds(fault, watch):
    """Neither of memory nor of time."""
    async with (
        faulty("http://127.0.0.1:9") as listening,
        faulty(listening.url) as proxy,
        ConsulClient(read_config(proxy.url)) as client,
    ):
        proxy.suffer(fault)
        begun = time.monotonic()
        with pytest.raises(CommunicationError, match=r"more than|in time"):
            async with client._http.ask("GET", "status/leader", seconds=0.5, watch=watch):
                pass
        assert time.monotonic() - begun < 5
        assert proxy.gushed < 40 * 1024 * 1024  # what is read, and what the kernel holds on the way


RULES = """
service_prefix "" { policy = "%s" }
node_prefix "" { policy = "read" }
agent_prefix "" { policy = "read" }
"""


class Tokens:
    """Tokens of an agent, made and revoked as an operator does."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = f"{url}/v1/acl"
        self._accessors: dict[str, str] = {}

    async def make(self, access: str) -> str:
        """A token with so much access to all services."""
        name = f"{access}-{len(self._accessors)}"
        await self._ask("PUT", "policy", {"Name": name, "Rules": RULES % access})
        made = await self._ask("PUT", "token", {"Policies": [{"Name": name}]})
        self._accessors[made["SecretID"]] = made["AccessorID"]
        return made["SecretID"]

    async def revoke(self, token: str) -> None:
        """Nobody has it any more."""
        await self._ask("DELETE", f"token/{self._accessors[token]}")

    async def _ask(self, method: str, path: str, data: object = None):
        async with self._session.request(method, f"{self._url}/{path}", json=data) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


@asynccontextmanager
async def tokens_of(agent: ConsulAgent, master: str) -> AsyncIterator[Tokens]:
    """To make and revoke tokens with."""
    async with aiohttp.ClientSession(headers={"X-Consul-Token": master}) as session:
        yield Tokens(session, agent.url)


async def test_tokens_are_revoked(tmp_path, note, caplog):
    """No call fails, with what is known; the logs of both sides say what is wrong, as that of a newcomer does."""
    master = str(uuid4())
    async with consul_agent(cache=CACHE, token=master) as agent, tokens_of(agent, master) as tokens:
        reads, writes = await tokens.make("read"), await tokens.make("write")
        async with scene(
            tmp_path, note, agent=agent, servers=3, token=writes, client_token=reads, master=master
        ) as acted:
            await acted.until_known(acted.servers)
            begun = time.monotonic()
            await tokens.revoke(reads)
            await wake(acted, there=True)  # a query that waits is not ended by that
            async with asyncio.timeout(20):
                # Two records, of two tasks.
                while not all(
                    text in caplog.text for text in ("its token is unknown to Consul", "keeping what is known")
                ):
                    await asyncio.sleep(0.01)
            note("client_said_seconds", time.monotonic() - begun)
            # From now on that has to stay. On a busy machine one of them may have missed a check when it was seen last.
            known = dict(acted.known)
            assert len(known) > 1
            await acted.load.more()
            begun = time.monotonic()
            await tokens.revoke(writes)
            for each in acted.servers:
                await each.until_logged("its token is unknown to Consul")
            note("servers_said_seconds", time.monotonic() - begun)
            await asyncio.sleep(4)  # until nobody's heartbeat counts any more, if that is what tells of them
            await acted.load.more()
            newcomer = await acted.start(token=str(uuid4()), wait=False)
            await newcomer.until_logged("its token is unknown to Consul")
            next(each for each in acted.servers if each.url in known.values()).process.kill()
            await acted.load.more(100)
            assert acted.known == known


async def test_a_token_that_may_no_longer_read(tmp_path, note, caplog):
    """Consul answers it with an empty list and a remark; nobody is taken for gone, and the log says why."""
    async with (
        consul_agent(cache=CACHE) as agent,
        faulty(agent.url) as proxy,
        scene(tmp_path, note, agent=agent, client_url=proxy.url) as acted,
    ):
        await acted.until_known(acted.servers)  # what is known now has to stay
        proxy.suffer(Fault.HIDDEN)
        await wake(acted, there=True)
        async with asyncio.timeout(10):
            while "the token does not allow to read it" not in caplog.text:
                await asyncio.sleep(0.01)
        await acted.load.more()
        assert len(acted.known) == 2


@pytest.mark.timeout(300)
async def test_a_flood_of_registrations(tmp_path, note):
    """500 instances start and stop at random; the client ends with exactly the truth, and asks no more than it may."""
    async with (
        consul_agent(cache=CACHE) as agent,
        faulty(agent.url) as proxy,
        # The small ones have one channel only; the others may miss heartbeats while the agent has so much to do.
        scene(tmp_path, note, agent=agent, client_url=proxy.url, channels=["rest"]) as acted,
    ):
        await acted.until_known(acted.servers)  # one of them may just have missed a check
        servers = {acted.id_of(each) for each in acted.servers}
        requests, begun = proxy.requests, time.monotonic()
        async with flood(agent, acted.folder) as processes:
            most, settled = 0, asyncio.gather(*(process.stdout.readline() for process in processes))
            while not settled.done():
                most = max(most, len(acted.known))
                await asyncio.sleep(0.01)
            lines = [line.decode().split() for line in settled.result()]
            left = {name for line in lines for name in line[1:]}
            truth = left | servers
            async with asyncio.timeout(30):
                while set(acted.known) != truth:
                    await asyncio.sleep(0.001)
            converged, seconds = time.monotonic(), time.monotonic() - begun
            note("converged_seconds", converged - max(float(line[0]) for line in lines))
            note("flood_seconds", seconds)
            note("most_known_at_once", most)
            note("requests", proxy.requests - requests)
            assert len(left) == 20
            assert proxy.requests - requests < seconds / GAP + 10
            await acted.load.more()
            # In order: a call that can be repeated is sent three times, which is no promise for when nine of ten
            # instances are killed in one instant.
            for process in processes:
                process.stdin.close()
            note("all_left_seconds", await acted.until_known(acted.servers, 30))
            assert [await process.wait() for process in processes] == [0] * len(processes)


@asynccontextmanager
async def flood(agent: ConsulAgent, folder: Path) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Five processes of a hundred instances each, of which four stay in the end."""
    processes: list[asyncio.subprocess.Process] = []
    try:
        for number in range(5):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.integration.consul.flood", agent.url, str(number), "100", "10", "4"),
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            processes.append(process)
        yield processes
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
