"""`meshcore run`, as its users run it: as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import socket

import aiohttp
import pytest

from tests.integration.cli.shell import Shell, end, until_status
from tests.support.state import lives

pytestmark = pytest.mark.one_python

PROBE = "tests.support.probe:ProbeModule"
GREETING = "examples.greeting:GreetingModule"


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


async def test_run_finishes_calls_in_progress(meshcore: Shell) -> None:
    """A call that was begun before SIGTERM gets its answer."""
    async with meshcore.running(PROBE) as (process, url), aiohttp.ClientSession() as session:
        call = asyncio.create_task(session.get(f"{url}/probe/sleep?seconds=1.5"))
        await Shell.until_active(url)
        process.send_signal(signal.SIGTERM)
        async with await call as response:
            assert (response.status, await response.json()) == (200, process.pid)
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_second_signal_ends_at_once(meshcore: Shell) -> None:
    """Who does not want to wait for calls in progress presses Ctrl-C again."""
    async with meshcore.running(PROBE) as (process, url), aiohttp.ClientSession() as session:
        call = asyncio.create_task(session.get(f"{url}/probe/sleep?seconds=50"))
        await Shell.until_active(url)
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
        await Shell.until_active(url)
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


@pytest.mark.one_python
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
    ],
)
async def test_what_cannot_be_served(meshcore: Shell, words: list[str], expected: str) -> None:
    """What is wrong is said in one line, with the setting to mend, and without a traceback."""
    status, out, err = await meshcore(*words)
    assert (status, out) == (2, "")
    assert err.startswith(f"meshcore: {expected}")
    assert err.count("\n") == 1
