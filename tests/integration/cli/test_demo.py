"""The demo: what it shows, how it ends, and that it leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from meshcore.core.instances import ChannelAddress, Instance
from meshcore.registry import ConsulComponentRegistry
from meshcore.registry.consul.api.client import ConsulClient
from meshcore.registry.consul.api.config import read_config
from meshcore.registry.consul.registrations import registration_of
from meshcore.testing import consul_agent
from meshcore.testing.consul.binary import find_consul
from tests.support.demonstration import MAIN, show
from tests.support.processes import ROOT

pytestmark = pytest.mark.one_python

STORY = "from meshcore.cli.demo import story as demo"
QUICK = ("-c", f"{STORY}; demo._PHASE = 0.3; raise SystemExit(demo.run())")
TABLE = re.compile(
    r"^ (stream-msgpack|dispatch-msgpack|dispatch-json|rest) +" + r" +".join([r"([\d.]+)"] * 8) + " *$", re.MULTILINE
)


@pytest.fixture(scope="module")
def _consul() -> None:
    """The program is there: the demo itself does not fetch it unasked."""
    find_consul(ROOT / ".cache")


@pytest.mark.usefixtures("_consul")
@pytest.mark.parametrize(
    "words",
    [
        pytest.param((), id="in a directory"),
        pytest.param(("--registry", "consul"), id="in Consul", marks=pytest.mark.long),
        pytest.param(("--identity", "dev"), id="with certificates", marks=pytest.mark.long),
    ],
)
async def test_no_call_fails_while_a_server_dies_and_comes_back(tmp_path: Path, words: tuple[str, ...]) -> None:
    """It tells the story in order, ends by itself in under 30 s, and its table adds up, without a failed call."""
    async with show(tmp_path, *MAIN, *words) as demo:
        for text in (
            "two servers start",
            "has A",
            "the client calls over",
            "SIGKILL to B",
            "dropped B",
            "anew",
            "has B'",
        ):
            await demo.until(text)
        assert await demo.end() == 0, demo.output
        assert "no call failed" in demo.output
        # Without the starts, which are left ten seconds for all, and may take longer where others run as well.
        start = demo.told("has B'") - demo.told("anew")
        assert demo.told("no call failed") - demo.told("the client calls over") - start < 20, demo.output
        rows = {name: [float(figure) for figure in figures] for name, *figures in TABLE.findall(demo.output)}
        assert set(rows) == {"stream-msgpack", "dispatch-msgpack", "dispatch-json", "rest"}, demo.output
        for calls, failed, _, p50, p99, *answered in rows.values():
            assert failed == 0
            assert calls > 100
            assert 0 < p50 <= p99
            assert all(answered)
            assert sum(answered) == calls
        demo.assert_nothing_is_left()


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "moment", "number"),
    [
        (MAIN, "two servers start", signal.SIGTERM),
        (MAIN, "the client calls over", signal.SIGTERM),  # SIGINT then: `test_an_impatient_user`
        (QUICK, "dropped B", signal.SIGTERM),  # SIGINT then: `test_ctrl_c_ends_its_consul`
        (QUICK, "started anew", signal.SIGINT),
    ],
    ids=["starting", "calling", "without B", "starting B anew"],
)
async def test_a_signal_ends_it_at_any_time(
    tmp_path: Path, words: tuple[str, ...], moment: str, number: signal.Signals
) -> None:
    """After Ctrl-C or SIGTERM it stops its servers and removes its files, whatever it was doing."""
    async with show(tmp_path, *words) as demo:
        await demo.until(moment)
        demo.process.send_signal(number)
        assert await demo.end() == 128 + number
        assert f"{number.name}: the servers have ended" in demo.output
        assert "Traceback" not in demo.output
        demo.assert_nothing_is_left()


@pytest.mark.long
@pytest.mark.usefixtures("_consul")
@pytest.mark.parametrize("moment", ["a Consul agent starts", "the Consul agent is ready", "dropped B"])
async def test_ctrl_c_ends_its_consul(tmp_path: Path, moment: str) -> None:
    """The agent that it started ends after the servers, also when Ctrl-C goes to the whole terminal."""
    async with show(tmp_path, *MAIN, "--registry", "consul") as demo:
        await demo.until(moment)
        os.killpg(demo.process.pid, signal.SIGINT)
        assert await demo.end() == 128 + signal.SIGINT
        assert "SIGINT: the servers have ended" in demo.output
        assert "Traceback" not in demo.output
        demo.assert_nothing_is_left()


@pytest.mark.long
async def test_in_a_consul_of_the_users(tmp_path: Path) -> None:
    """It uses an agent that runs already, and takes its servers out of it; one that was killed before is no matter."""
    code = f"{STORY}; import sys; demo._PHASE = 0.3; raise SystemExit(demo.run(sys.argv[1]))"
    folder = tmp_path / "demo"
    folder.mkdir()
    dead = registration_of(Instance("orders-dead", "orders", (ChannelAddress("rest", "http://127.0.0.1:1"),)))
    check = msgspec.structs.replace(dead.check, status="critical")
    async with consul_agent(cache=ROOT / ".cache") as agent, ConsulClient(read_config(agent.url)) as client:
        await client.register(msgspec.structs.replace(dead, check=check))
        async with show(folder, "-c", code, agent.url.replace("http:", "consul:")) as demo:
            assert await demo.end() == 0, demo.output
            demo.assert_nothing_is_left()
        entries = (await client.health("orders")).entries
        assert len(entries) == 2  # the dead one, and the one that was killed, until Consul sweeps them
        assert all(any(each.status == "critical" for each in entry.checks) for entry in entries)


async def test_a_component_of_somebody_else(tmp_path: Path) -> None:
    """It does not call servers that are not its own, nor take part in their work."""
    registry = ConsulComponentRegistry
    async with consul_agent(cache=ROOT / ".cache") as agent, registry(agent.url) as consul:
        url = agent.url  # whatever listens there
        async with consul.announce(Instance("theirs", "orders", (ChannelAddress("rest", url),))):
            folder = tmp_path / "demo"
            folder.mkdir()
            async with show(folder, *MAIN, "--registry", url.replace("http:", "consul:")) as demo:
                assert await demo.end() == 1
                assert f"failed: the registry has a component 'orders' already, at {url}" in demo.output
                assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("registry", "text"),
    [
        ("consul", "there is no program `consul`"),
        ("consul://127.0.0.1:1", "Consul at http://127.0.0.1:1: "),
        ("conzul://localhost", "no registry 'conzul'"),
    ],
)
async def test_a_registry_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: str, text: str
) -> None:
    """Without the program, without an agent or with a wrong word it says in a line what is wrong, and ends."""
    monkeypatch.setenv("PATH", str(tmp_path))
    code = (
        "import os, sys; os.chdir('/'); from meshcore.cli.demo import story; raise SystemExit(story.run(sys.argv[1]))"
    )
    async with show(tmp_path, "-c", code, registry) as demo:
        assert await demo.end() == 1
        assert text in demo.output
        assert "Traceback" not in demo.output
        demo.assert_nothing_is_left()


async def test_an_impatient_user(tmp_path: Path) -> None:
    """Ctrl-C reaches every process of a terminal, and more than once; the clean-up is not disturbed."""
    async with show(tmp_path) as demo:
        await demo.until("the client calls over")
        for _ in range(5):
            with suppress(ProcessLookupError):
                os.killpg(demo.process.pid, signal.SIGINT)
            await asyncio.sleep(0.05)
        assert await demo.end() == 128 + signal.SIGINT
        assert "SIGINT: the servers have ended" in demo.output
        assert "Traceback" not in demo.output
        demo.assert_nothing_is_left()


async def test_it_makes_its_own_certificates(tmp_path: Path) -> None:
    """Those of somebody else could not prove its components; it says so, and starts nothing."""
    for words in ((), ("--page",)):
        async with show(tmp_path, *MAIN, *words, "--identity", "files:/etc/mesh") as demo:
            assert await demo.end() == 1
            assert "failed: --identity files:/etc/mesh: the demo makes certificates of its own" in demo.output
            demo.assert_nothing_is_left()


async def test_a_failed_call_is_not_hidden(tmp_path: Path) -> None:
    """A wrong answer is a failure: it is counted, shown with the servers' logs, and is the exit status."""
    code = f"{STORY}; demo._PHASE = 0.3; demo._TOTAL += 1; raise SystemExit(demo.run())"
    async with show(tmp_path, "-c", code) as demo:
        assert await demo.end() == 1
        assert "no call failed" not in demo.output
        assert re.search(r"\d+ failures$", demo.output, re.MULTILINE)
        assert "a wrong order" in demo.output
        assert "log of A" in demo.output
        demo.assert_nothing_is_left()


async def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    """A server that cannot start is named, and its log shown."""
    code = f"{STORY}; demo.orders.__name__ = 'nowhere'; raise SystemExit(demo.run())"
    async with show(tmp_path, "-c", code) as demo:
        assert await demo.end() == 1
        assert "failed: server A ended with status 1" in demo.output
        assert "no Python module 'nowhere'" in demo.output
        demo.assert_nothing_is_left()
