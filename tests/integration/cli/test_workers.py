"""`meshcore run --workers`: a worker that ends is replaced, and the server goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from pathlib import Path

import aiohttp
import pytest

from tests.integration.cli.shell import Shell, end
from tests.integration.cli.test_cli_run import SERVICE

pytestmark = pytest.mark.one_python

PROBE = "tests.support.probe:ProbeModule"

DIES = """
class AnswerComponentImpl(AbstractComponent, AnswerComponent):
    async def startup(self) -> None:
        if pathlib.Path("die").exists():
            os.kill(os.getpid(), signal.SIGKILL)
"""


async def until_said(process: Process, text: str) -> str:
    """Return the line of the log with the text."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while text not in (line := (await process.stderr.readline()).decode()):
            assert line, "it has ended"
    return line


async def until_served_by(url: str, count: int, without: set[int]) -> set[int]:
    """The processes that serve, as soon as there are so many besides those."""
    found: set[int] = set()
    async with asyncio.timeout(60):
        while len(found - without) < count:
            try:
                async with aiohttp.ClientSession() as session, session.get(f"{url}/probe/pid") as response:
                    found.add(await response.json())
            except aiohttp.ClientConnectionError:  # the connection was that of a worker that is killed
                pass
            await asyncio.sleep(0.01)
    return found - without


async def test_a_worker_that_is_killed_is_replaced(meshcore: Shell) -> None:
    """At once, and after a pause if the next one is killed, too. Then the server ends in order."""
    async with meshcore.running(PROBE, "--workers", "2") as (process, url):
        first = await until_served_by(url, 2, set())
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        await until_said(process, f"worker {victim} was killed by SIGKILL; another one is started now")
        (new,) = await until_served_by(url, 1, first)
        os.kill(new, signal.SIGKILL)
        await until_said(process, f"worker {new} was killed by SIGKILL; another one is started in 0.5 s")
        await until_served_by(url, 1, {*first, new})
        await until_served_by(url, 1, {victim, new})  # the other one still serves
        status, err = await end(process, signal.SIGTERM)
        assert (status, "Traceback" in err) == (0, False)


async def test_a_worker_that_ends_in_order_is_replaced(meshcore: Shell) -> None:
    """As when it alone gets a signal."""
    async with meshcore.running(PROBE, "--workers", "2") as (process, url):
        first = await until_served_by(url, 2, set())
        os.kill(min(first), signal.SIGTERM)
        await until_said(process, f"worker {min(first)} ended with status 0; another one is started now")
        await until_served_by(url, 1, first)
        assert (await end(process, signal.SIGINT))[0] == 0


async def test_workers_that_keep_dying(meshcore: Shell) -> None:
    """The pauses grow, and a signal ends the server in one of them."""
    (meshcore.folder / "answer.py").write_text(
        SERVICE.replace("class AnswerComponentImpl(AbstractComponent, AnswerComponent): ...", DIES)
        .replace("from abc", "import os, pathlib, signal\nfrom abc")
        .replace('return "ANSWER"', "return os.getpid()")
        .replace("answer(self) -> str", "answer(self) -> int")
    )
    async with meshcore.running("answer:AnswerModule", "--workers", "2") as (process, url):
        async with aiohttp.ClientSession() as session, session.get(f"{url}/answer/") as response:
            worker = await response.json()
        mark(meshcore.folder / "die")
        os.kill(worker, signal.SIGKILL)
        for pause in ("now", "in 0.5 s", "in 1 s", "in 2 s"):
            await until_said(process, f"was killed by SIGKILL; another one is started {pause}")
        assert (await end(process, signal.SIGTERM))[0] == 0


def mark(path: Path) -> None:
    """Make an empty file."""
    path.touch()
