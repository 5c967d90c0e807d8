"""`meshcore run`: the start-up report, logging as JSON, and starting again after changes."""

from __future__ import annotations

import asyncio
import json
import re
import signal

import aiohttp
import pytest

from tests.integration.cli.shell import Shell, end

GREETING = "examples.greeting:GreetingModule"
ORDERS = "examples.orders:OrdersModule"
PROBE = "tests.support.probe:ProbeModule"

SERVICE = """
from abc import abstractmethod
from meshcore import AbstractComponent, Component, Service, component, get, implementation, module, rest, service

@service()
@rest("/answer")
class Answer(Service):
    @abstractmethod
    @get("/")
    async def answer(self) -> str: ...

@component(services=[Answer])
class AnswerComponent(Component): ...

@implementation()
class AnswerImpl(Answer):
    async def answer(self) -> str:
        return "ANSWER"

@implementation()
class AnswerComponentImpl(AbstractComponent, AnswerComponent): ...

@module()
class AnswerModule: ...
"""


WAITS = """
class AnswerComponentImpl(AbstractComponent, AnswerComponent):
    async def startup(self) -> None:
        file = pathlib.Path("waits")
        file.touch()
        try:
            await asyncio.Event().wait()
        finally:
            file.write_text("left")
"""


async def test_the_report_tells_what_is_served(meshcore: Shell) -> None:
    """Components, services, channels, addresses, health, the registry, and settings with their sources are printed."""
    (meshcore.folder / "meshcore.toml").write_text('zone = "north"\n[values.orders]\nkey = "secret"\n')
    async with meshcore.running(ORDERS) as (process, url):
        assert process.stdout is not None
        process.send_signal(signal.SIGINT)
        assert (await process.stdout.read()).decode().splitlines() == [
            "  component orders",
            "    service orders: place, find, search, add_note, cancel",
            f"    channels dispatch-msgpack, dispatch-json, rest, stream-msgpack at {url}",
            f"    health {url}/orders/health",
            "  component warehouse",
            "    service stock: level, reserve, release, restock",
            "    service pricing: quote, price",
            f"    channels dispatch-msgpack, dispatch-json, rest, stream-msgpack at {url}",
            f"    health {url}/warehouse/health",
            f"  documents {url}/docs, {url}/openapi.json",
            f"  registry DirectoryComponentRegistry (directory://{meshcore.folder}/registry)",
            f"  setting module = {ORDERS} (argument)",
            f"  setting registry = directory://{meshcore.folder}/registry (environment MESHCORE_REGISTRY)",
            f"  setting advertise_url = {url} (what is bound)",
            "  setting zone = north (meshcore.toml)",
            "  setting values.orders.key = *** (meshcore.toml)",
            "  other settings: default",
        ]


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
async def test_a_module_that_serves_nothing_is_an_error(meshcore: Shell, options: tuple[str, ...]) -> None:
    """A module whose implementation is only imported does not become a server; the text says what to add."""
    meshcore.folder.joinpath("answers.py").write_text(SERVICE)
    meshcore.folder.joinpath("empty.py").write_text(
        "from answers import *\nfrom meshcore import module\n@module()\nclass Empty: ...\n"
    )
    status, out, err = await meshcore("run", "empty:Empty", "--bind", "127.0.0.1:0", *options)
    assert (status, out) == (2, "")
    assert "Empty serves nothing: it implements no component; AnswerImpl is imported in empty" in err
    assert "add provides=[AnswerImpl] or imports=[AnswerModule] to the @module of Empty" in err


AWAY = "consul://127.0.0.1:9"  # a registry of many machines; the start does not wait for it

OWN_REGISTRY = """
from meshcore import ComponentRegistry, create
from meshcore.registry import LocalComponentRegistry

@module()
class AnswerModule:
    @create()
    def registry(self) -> ComponentRegistry:
        return LocalComponentRegistry()
"""


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_server_on_all_interfaces_advertises_an_address_of_this_machine(meshcore: Shell, workers: str) -> None:
    """Not its name, which other machines may not know. The report says which address, and why."""
    meshcore.environ["MESHCORE_REGISTRY"] = AWAY
    process = await meshcore.start("run", GREETING, "--workers", workers, "--bind", "0.0.0.0:0")
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    found = re.search(r"http://([\d.]+):\d+", line)
    assert found, line
    report = (await process.stdout.readuntil(b"all interfaces are bound; ")).decode()
    assert report.endswith(f"  setting advertise_url = {found[0]} (all interfaces are bound; ")
    assert (await process.stdout.readline()).decode().startswith(f"{found[1]} ")
    _, err = await end(process, signal.SIGTERM)
    # Only a machine that has no other address than the loopback's cannot be reached.
    assert ("leads clients on other machines to themselves" in err) == found[1].startswith("127.")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_an_address_that_others_cannot_reach_is_warned_of_once(meshcore: Shell, workers: str) -> None:
    """The loopback, with a registry that other machines read: the warning names the ways to mend it."""
    meshcore.environ["MESHCORE_REGISTRY"] = AWAY
    process = await meshcore.start("run", GREETING, "--workers", workers, "--bind", "127.0.0.1:0")
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    found = re.search(r"http://127.0.0.1:\d+", line)
    assert found, line
    status, err = await end(process, signal.SIGTERM)
    assert status == 0
    (warning,) = [text for text in err.splitlines() if "clients on other machines" in text]
    assert warning.partition(" WARNING ")[2] == (
        f"meshcore.serve.report: the advertised URL {found[0]} (what is bound) leads clients on other machines to "
        "themselves. Listen on all interfaces (--bind 0.0.0.0:8000), or set MESHCORE_ADVERTISE_URL (setting "
        "advertise_url) to the URL under which they reach this server"
    )


@pytest.mark.parametrize("case", ["directory", "local", "a registry of the module", "a URL that is set"])
async def test_an_address_that_clients_can_use_is_not_warned_of(meshcore: Shell, case: str) -> None:
    """Clients are on this machine, or somebody has said which address they use."""
    (meshcore.folder / "answer.py").write_text(
        SERVICE if case != "a registry of the module" else SERVICE.partition("@module()")[0] + OWN_REGISTRY
    )
    if case != "directory":
        meshcore.environ["MESHCORE_REGISTRY"] = "local:" if case == "local" else AWAY
    if case == "a URL that is set":
        meshcore.environ["MESHCORE_ADVERTISE_URL"] = "http://127.0.0.1:8000"
    process = await meshcore.start("run", "answer:AnswerModule", "--bind", "127.0.0.1:0")
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    status, err = await end(process, signal.SIGTERM)
    assert (status, line[:8]) == (0, "serving "), err
    assert "clients on other machines" not in err


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_everything_is_json_if_logging_is(meshcore: Shell, workers: str) -> None:
    """With `log_format = json` the report, the log and a failed call are one object a line each."""
    meshcore.environ["MESHCORE_LOG_FORMAT"] = "json"
    process = await meshcore.start("run", PROBE, "--workers", workers, "--bind", "127.0.0.1:0")
    assert process.stdout is not None
    report = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert (report["level"], report["logger"], report["workers"]) == ("INFO", "meshcore.serve.report", int(workers))
    assert report["serves"] == PROBE
    assert report["components"][0]["name"] == "probe"
    assert report["components"][0]["health"] == f"{report['url']}/probe-health"
    sources = {setting["name"]: setting["source"] for setting in report["settings"]}
    assert (sources["log_format"], sources["timeout"]) == ("environment MESHCORE_LOG_FORMAT", "default")
    body = {"method": "probe:probe:crash", "args": []}
    headers = {"meshcore-attempt": "1"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{report['url']}/invoke", json=body, headers=headers) as response,
    ):
        told = await response.text()
    status, err = await end(process, signal.SIGTERM)
    assert status == 0
    lines = [json.loads(line) for line in err.splitlines()]
    # Only what it says of a call: where the machine stalls, it says that as well.
    (failed,) = [line for line in lines if line["logger"] == "meshcore.server.reports" and "call" in line]
    assert failed["call"] in told
    assert failed["method"] == "probe.crash"
    assert "the secret of the server" in failed["exception"]
    assert failed["service"] == "probe"
    for begin in ("stopping: it withdraws from the registry, and 0 calls are in progress", "drained in "):
        told_by = [line["instance"] for line in lines if line["message"].startswith(begin)]
        # Another worker may not have started yet.
        assert len(set(told_by)) == len(told_by) in range(1, int(workers) + 1)
        assert failed["instance"] in told_by


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_signal_ends_it_while_it_starts(meshcore: Shell, workers: str) -> None:
    """A component waits for what does not come; that it is told to end is no failure."""
    (meshcore.folder / "answer.py").write_text(
        SERVICE.replace("ANSWER", "yes")
        .replace("class AnswerComponentImpl(AbstractComponent, AnswerComponent): ...", WAITS)
        .replace("from abc", "import asyncio, pathlib\nfrom abc")
    )
    process = await meshcore.start("run", "answer:AnswerModule", "--workers", workers, "--bind", "127.0.0.1:0")
    async with asyncio.timeout(20):
        while not (meshcore.folder / "waits").exists():
            await asyncio.sleep(0.02)
    status, err = await end(process, signal.SIGTERM)
    assert (status, (meshcore.folder / "waits").read_text()) == (0, "left"), err


async def test_why_a_component_does_not_start(meshcore: Shell) -> None:
    """What its startup() raises is said in one line, which names it."""
    fails = WAITS.replace("await asyncio.Event().wait()", 'raise ValueError("the database is away")')
    (meshcore.folder / "answer.py").write_text(
        SERVICE.replace("class AnswerComponentImpl(AbstractComponent, AnswerComponent): ...", fails).replace(
            "from abc", "import asyncio, pathlib\nfrom abc"
        )
    )
    status, _, err = await meshcore("run", "answer:AnswerModule", "--bind", "127.0.0.1:0")
    text = "ValueError: the database is away; in startup() of component 'answer-component'"
    assert (status, err) == (1, f"meshcore: {text} (meshcore --debug ... shows the traceback)\n")


@pytest.mark.long
async def test_reload_serves_what_was_saved(meshcore: Shell) -> None:
    """A saved file is served under the same address; one that is broken is said, and the next one serves again."""
    file = meshcore.folder / "answering.py"
    file.write_text(SERVICE.replace("ANSWER", "one"))
    async with meshcore.running("answering:AnswerModule", "--reload") as (process, url):
        async with aiohttp.ClientSession() as session:
            assert await answer(session, url) == "one"
            file.write_text(SERVICE.replace("ANSWER", "second"))
            await until_answer(session, url, "second")
            file.write_text("def (")
            assert process.stderr is not None
            async with asyncio.timeout(20):
                while b"waiting for a change" not in (line := await process.stderr.readline()):
                    assert line
            assert b"SyntaxError" in line
            file.write_text(SERVICE.replace("ANSWER", "the third"))
            await until_answer(session, url, "the third")
        status, err = await end(process, signal.SIGINT)
        assert (status, "Traceback" in err) == (0, False)


async def test_reload_takes_one_process(meshcore: Shell) -> None:
    """--reload and --workers are not for the same day."""
    status, _, err = await meshcore("run", GREETING, "--reload", "--workers", "2")
    assert (status, err) == (2, "meshcore: --reload serves with one process; leave --workers out\n")


async def answer(session: aiohttp.ClientSession, url: str) -> str:
    """What the service says."""
    async with session.get(f"{url}/answer/") as response:
        return await response.json()


async def until_answer(session: aiohttp.ClientSession, url: str, expected: str) -> None:
    """Return when the service says that."""
    async with asyncio.timeout(20):
        while True:
            try:
                if await answer(session, url) == expected:
                    return
            except (aiohttp.ClientError, ValueError):
                pass
            await asyncio.sleep(0.05)
