"""The command line, run as its users run it: as a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from meshcore.cli import program as cli
from tests.integration.cli.shell import Shell, end, until_status
from tests.support.state import lives

PROBE = "tests.support.probe:ProbeModule"
GREETING = "examples.greeting:GreetingModule"
ORDERS = "examples.orders:OrdersModule"


@pytest.fixture
def meshcore(tmp_path: Path) -> Shell:
    """The command line."""
    return Shell(tmp_path)


# --- run --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_run_serves_until_it_is_told_to_end(meshcore: Shell, number: int) -> None:
    """`run` says its address, is found there, and ends in order: withdrawn, with status 0 and without a traceback."""
    async with meshcore.running(GREETING) as (process, url):
        status, out, _ = await meshcore("ls")
        assert status == 0
        assert url in out
        assert await meshcore("call", "greeting.hello", "message=world", "--module", GREETING) == (
            0,
            '"hello world"\n',
            "",
        )
        status, err = await end(process, number)
        assert status == 0
        assert "Traceback" not in err
        assert (await meshcore("ls"))[1] == ""


async def test_why_tells_the_numbers_and_the_instances(meshcore: Shell) -> None:
    """`why` says who set which number and who may be asked; and why nobody may, if nobody is there."""
    (meshcore.folder / "meshcore.toml").write_text('[policies."greeting.hello"]\nattempts = 7\n')
    status, out, _ = await meshcore("why", "greeting.hello", "--module", GREETING)
    assert status == 0
    assert re.search(r"^attempts +7 +setting policies.greeting.hello *$", out, re.MULTILINE)
    assert re.search(r"^timeout +10.0 +default *$", out, re.MULTILINE)
    assert "component 'greeting-component' is offered by nobody, says DirectoryComponentRegistry" in out
    async with meshcore.running(GREETING) as (_, url):
        status, out, _ = await meshcore("why", "greeting.hello", "--module", GREETING)
        assert out.startswith("greeting.hello of greeting-component, over dispatch-msgpack: the less loaded of two")
        assert re.search(rf"^greeting-component-\w+ +{re.escape(url)} +1 +admitted *$", out, re.MULTILINE)
    status, _, err = await meshcore("why", "greeting.hallo", "--module", GREETING)
    assert (status, "did you mean 'hello'?" in err) == (2, True)


async def test_run_finishes_calls_in_progress(meshcore: Shell) -> None:
    """A call that was begun before SIGTERM gets its answer."""
    async with meshcore.running(PROBE) as (process, url), aiohttp.ClientSession() as session:
        call = asyncio.create_task(session.get(f"{url}/probe/sleep?seconds=1.5"))
        await until_active(url)
        process.send_signal(signal.SIGTERM)
        async with await call as response:
            assert (response.status, await response.json()) == (200, process.pid)
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_second_signal_ends_at_once(meshcore: Shell) -> None:
    """Who does not want to wait for calls in progress presses Ctrl-C again."""
    async with meshcore.running(PROBE) as (process, url), aiohttp.ClientSession() as session:
        call = asyncio.create_task(session.get(f"{url}/probe/sleep?seconds=50"))
        await until_active(url)
        process.send_signal(signal.SIGINT)
        await until_status(f"{url}/readyz", 503)
        status, _ = await end(process, signal.SIGINT)
        assert status == 1
        await asyncio.gather(call, return_exceptions=True)


async def test_a_thread_that_hangs_does_not_hold_the_server(meshcore: Shell) -> None:
    """A `def` implementation that was given up keeps its thread, but not the process."""
    meshcore.environ["MESHCORE_DRAIN"] = "0.1"
    async with meshcore.running(PROBE) as (process, url), aiohttp.ClientSession() as session:
        body = {"method": "probe:blocking:work", "args": [50.0]}
        call = asyncio.create_task(session.post(f"{url}/invoke", json=body))
        await until_active(url)
        status, _ = await end(process, signal.SIGTERM)
        assert status == 1
        await asyncio.gather(call, return_exceptions=True)


async def test_a_client_that_never_ends_its_request_does_not_hold_the_server(meshcore: Shell) -> None:
    """An upload that hangs is cut off: hypercorn alone would wait for it without bound."""
    async with meshcore.running(GREETING) as (process, url):
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /invoke HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        await writer.drain()
        status, _ = await end(process, signal.SIGTERM)
        assert status == 0
        writer.close()


async def test_workers_share_the_address(meshcore: Shell) -> None:
    """Calls reach several processes under one URL, and all of them end with the first one's SIGTERM."""
    async with meshcore.running(PROBE, "--workers", "2") as (process, url):
        pids = set()
        async with asyncio.timeout(20):
            while len(pids) < 2:
                # A connection each: it is the kernel that spreads connections.
                async with aiohttp.ClientSession() as session, session.get(f"{url}/probe/pid") as response:
                    pids.add(await response.json())
        assert process.pid not in pids
        status, err = await end(process, signal.SIGTERM)
        assert (status, "Traceback" in err) == (0, False)
        for pid in pids:
            assert not lives(pid)


async def test_workers_do_not_outlive_their_parent(meshcore: Shell) -> None:
    """When the parent is killed the workers end by themselves, and are announced no more."""
    async with meshcore.running(PROBE, "--workers", "2") as (process, url):
        async with aiohttp.ClientSession() as session, session.get(f"{url}/probe/pid") as response:
            pid = await response.json()
        process.kill()
        async with asyncio.timeout(20):
            while lives(pid):
                await asyncio.sleep(0.02)
        async with asyncio.timeout(20):
            while (await meshcore("ls"))[1]:
                pass


async def test_an_address_in_use(meshcore: Shell) -> None:
    """A taken port is said in one line."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        bind = f"127.0.0.1:{sock.getsockname()[1]}"
        assert await meshcore("run", GREETING, "--bind", bind) == (
            2,
            "",
            f"meshcore: cannot listen at {bind}: address already in use; choose another address with --bind\n",
        )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["run"],
            "no module to serve: set MESHCORE_MODULE=package.module:Class, or `module` in [tool.meshcore]",
        ),
        (
            ["run", "examples.greeting"],
            "The settings cannot be used: argument: module must be \"package.module:Class\", got 'examples.greeting'",
        ),
        (
            ["run", "examples.greeting:GreetingModul"],
            "setting module = 'examples.greeting:GreetingModul' (from: argument): examples.greeting has no ",
        ),
        (
            ["run", GREETING, "--registry", "consl://127.0.0.1:8500", "--workers", "2"],
            "GreetingModule cannot start: setting registry: no registry 'consl' for 'consl://127.0.0.1:8500'",
        ),
        (
            ["run", GREETING, "--bind", "localhost"],
            "cannot serve: bind must be host:port, such as 127.0.0.1:8000, got 'localhost'",
        ),
        (
            ["run", GREETING, "--registry", "consl://127.0.0.1:8500"],
            "GreetingModule cannot start: setting registry: no registry 'consl' for 'consl://127.0.0.1:8500'",
        ),
        (["ls", "--registry", "directory:here"], "setting registry: directory: takes an absolute path"),
    ],
)
async def test_what_cannot_be_served(meshcore: Shell, words: list[str], expected: str) -> None:
    """What is wrong is said in one line, with the setting to mend, and without a traceback."""
    status, out, err = await meshcore(*words)
    assert (status, out) == (2, "")
    assert err.startswith(f"meshcore: {expected}")
    assert err.count("\n") == 1


async def test_unknown_settings(meshcore: Shell) -> None:
    """A misspelt variable is an error, and not a default in disguise."""
    meshcore.environ["MESHCORE_TIMOUT"] = "5"
    assert await meshcore("ls") == (
        2,
        "",
        (
            "meshcore: The settings cannot be used: environment MESHCORE_TIMOUT: no such setting; "
            "did you mean MESHCORE_TIMEOUT?\n"
        ),
    )


# --- ls and call ------------------------------------------------------------------------------------------------------


async def test_nothing_is_announced(meshcore: Shell) -> None:
    """An empty registry is no error, and nothing to print; where it is is said, also when no setting says so."""
    folder = meshcore.environ["MESHCORE_REGISTRY"].removeprefix("directory://")
    nothing = "nothing is announced in DirectoryComponentRegistry"
    assert await meshcore("ls") == (0, "", f"{nothing}({folder!r})\n")
    meshcore.environ.update(MESHCORE_REGISTRY="directory:", XDG_RUNTIME_DIR=folder)
    assert await meshcore("ls") == (0, "", f"{nothing}({folder + '/meshcore'!r})\n")


async def test_what_is_piped_is_complete(meshcore: Shell) -> None:
    """Component, instance, channel and URL stand on one line, however long, one line per address."""
    async with meshcore.running(ORDERS) as (_, url):
        _, out, _ = await meshcore("ls")
        rows = {tuple(line.split()) for line in out.splitlines() if url in line}
        assert {(component, channel) for component, _, _, channel, _ in rows} == {
            (component, channel)
            for component in ("orders", "warehouse")
            for channel in ("dispatch-msgpack", "dispatch-json", "rest")
        }


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "rest"])
async def test_arguments_are_typed(meshcore: Shell, channel: str) -> None:
    """A value is JSON where the parameter's type takes that, and text otherwise; the result is JSON."""
    order_id = str(uuid4())
    draft = {"customer": "ada", "lines": [{"sku": "kit", "parts": [{"sku": "bolt", "quantity": 2}, {"sku": "lamp"}]}]}
    options = ("--module", ORDERS, "--channel", channel)
    async with meshcore.running(ORDERS):
        status, out, err = await meshcore(
            "call", "orders.place", f"order_id={order_id}", f"draft={json.dumps(draft)}", *options
        )
        assert (status, err) == (0, "")
        order = json.loads(out)
        assert (order["id"], order["total"], order["status"]) == (order_id, "37.34", "placed")
        _, out, _ = await meshcore("call", "orders.search", "status=placed", "limit=1", *options)
        assert json.loads(out) == [order]
        status, out, err = await meshcore("call", "orders.find", f"order_id={uuid4()}", *options)
        assert (status, out) == (4, "")
        assert re.fullmatch(r"meshcore: not_found: OrderNotFound: there is no order \S+\n", err)


async def test_a_sync_method_is_called_like_any_other(meshcore: Shell) -> None:
    """A method that the interface declares with `def` can be called, too."""
    async with meshcore.running(ORDERS):
        status, out, _ = await meshcore("call", "stock.restock", "sku=bolt", "quantity=5", "--module", ORDERS)
        assert (status, json.loads(out)) == (0, {"sku": "bolt", "available": 1_000_005, "reserved": 0})


@pytest.mark.parametrize(
    ("words", "status", "lines"),
    [
        (
            ["greeting.hello", "message=x"],
            3,
            ["unavailable: cannot call 'greeting.hello': nothing is announced in DirectoryComponentRegistry("],
        ),
        (
            ["greting.hello", "--module", GREETING],
            2,
            ["cannot call 'greting.hello': no such service; did you mean 'greeting.hello'?"],
        ),
        (
            ["hello", "--module", GREETING],
            2,
            ["cannot call 'hello': no such service; there is 'greeting.hello'"],
        ),
        (
            ["greeting.helo", "--module", GREETING],
            2,
            ["cannot call 'greeting.helo': greeting has no method 'helo'; did you mean 'hello'?"],
        ),
        (
            ["greeting.hello", "mesage=1", "loud", "--module", GREETING],
            2,
            [
                "cannot call greeting.hello (message=...):",
                "1. 'loud' is not of the form name=value",
                "2. no parameter 'mesage'; did you mean 'message'?",
                "3. message is missing",
            ],
        ),
        (
            ["greeting.hello", "message=1", "message=2", "--module", GREETING],
            2,
            ["cannot call greeting.hello (message=...): message is given twice"],
        ),
        (
            ["orders.search", "limit=many", "status=lost", "--module", ORDERS],
            2,
            [
                "cannot call orders.search (customer=... status=... limit=...):",
                "1. status: $: invalid enum value 'lost'",
                "2. limit: $: expected int, got 'many'",
            ],
        ),
        (
            ["pricing.quote", 'item={"sku": 1}', "--module", ORDERS],
            2,
            ["cannot call pricing.quote (item=...): item: $.sku: expected str, got int"],
        ),
        (
            ["greeting.hello", "message=x", "--channel", "rset", "--module", GREETING],
            2,
            ["no channel 'rset'; did you mean 'rest'?"],
        ),
        (
            ["greeting.hello", "message=x", "--module", GREETING],
            3,
            ["unavailable: component 'greeting-component' is offered by nobody, says DirectoryComponentRegistry"],
        ),
    ],
)
async def test_what_cannot_be_called(meshcore: Shell, words: list[str], status: int, lines: list[str]) -> None:
    """Everything that is wrong is said at once, and the exit status tells whose fault it is."""
    found, out, err = await meshcore("call", *words)
    assert (found, out) == (status, "")
    printed = err.removeprefix("meshcore: ").splitlines()
    assert len(printed) == len(lines)
    for line, expected in zip(printed, lines, strict=True):
        assert line.strip().startswith(expected)


async def test_errors_of_the_server(meshcore: Shell) -> None:
    """An error of the server's own has its exit status, and the server's log has the rest."""
    async with meshcore.running(PROBE):
        status, out, err = await meshcore("call", "probe.crash", "--module", PROBE)
        assert (status, out) == (4, "")
        assert err.startswith("meshcore: internal: internal error; the server's log has it as call ")
        assert "secret" not in err


async def test_a_timeout(meshcore: Shell) -> None:
    """`--timeout` bounds the call."""
    async with meshcore.running(PROBE):
        status, _, err = await meshcore("call", "probe.sleep", "seconds=50", "--timeout", "0.3", "--module", PROBE)
        assert status == 3
        assert err.startswith("meshcore: deadline_exceeded: ")


async def test_a_traceback_is_for_debugging(meshcore: Shell) -> None:
    """With --debug, and only then, there is a traceback."""
    _, _, err = await meshcore("--debug", "call", "greeting.helo", "--module", GREETING)
    assert "Traceback (most recent call last)" in err
    assert "did you mean 'hello'?" in err


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing: str, monkeypatch, capsys) -> None:
    """Without typer or rich the command line says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    text = 'meshcore\'s command line needs typer and rich: pip install "meshcore-runtime[cli]"\n'
    assert capsys.readouterr().err == text


async def until_active(url: str) -> None:
    """Return when the server runs a call."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/report") as response:
                if (await response.json())["active"]:
                    return
            await asyncio.sleep(0.02)
