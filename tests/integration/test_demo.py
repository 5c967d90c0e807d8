"""The demo: what it shows, how it ends, and that it leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

ROOT = Path(__file__).parents[2]
TABLE = re.compile(r"^ (dispatch-json|dispatch-msgpack|rest) +" + r" +".join([r"([\d.]+)"] * 8) + " *$", re.MULTILINE)


class Show:
    """A running demo.

    Attributes:
        process: the process.
        output: what it printed so far.
    """

    def __init__(self, process: asyncio.subprocess.Process, marker: str, folder: Path) -> None:
        self.process = process
        self.output = ""
        self._marker = marker
        self._folder = folder

    async def until(self, text: str) -> None:
        """Return when it has printed the text."""
        assert self.process.stdout is not None
        while text not in self.output:
            line = await self.process.stdout.readline()
            assert line, f"it ended without printing {text!r}:\n{self.output}"
            self.output += line.decode()

    async def end(self) -> int:
        """Its exit status."""
        assert self.process.stdout is not None
        self.output += (await self.process.stdout.read()).decode()
        return await self.process.wait()

    def assert_nothing_is_left(self) -> None:
        """No file, no process and no port."""
        assert list(self._folder.iterdir()) == []
        assert processes_with(self._marker) == []
        for url in re.findall(r"http://[\d.:]+", self.output):
            address = urlsplit(url)
            with socket.socket() as sock:
                assert sock.connect_ex((address.hostname, address.port)) != 0


def processes_with(marker: str) -> list[int]:
    """The processes with a text in their environment: the demo's servers inherit it, wherever they went."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@asynccontextmanager
async def show(folder: Path, *words: str) -> AsyncGenerator[Show]:
    """Start the demo, with the folder for temporary files. What is left of it is killed in the end."""
    marker = f"DEMO_TEST={uuid4()}"
    environ = {key: value for key, value in os.environ.items() if not key.startswith("COLUMNS")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *(words or ("-m", "meshcore.cli", "demo"))),
        cwd=ROOT,
        env={**environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", **dict([marker.split("=")])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield Show(process, marker, folder)
    finally:
        for pid in processes_with(marker):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.communicate()


async def test_no_call_fails_while_a_server_dies_and_comes_back(tmp_path: Path) -> None:
    """It tells the story in order, ends by itself in under 30 s, and its table adds up, without a failed call."""
    began = time.monotonic()
    async with show(tmp_path) as demo:
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
        assert time.monotonic() - began < 30
        assert "no call failed" in demo.output
        rows = {name: [float(figure) for figure in figures] for name, *figures in TABLE.findall(demo.output)}
        assert set(rows) == {"dispatch-json", "dispatch-msgpack", "rest"}, demo.output
        for calls, failed, _, p50, p99, *answered in rows.values():
            assert failed == 0
            assert calls > 100
            assert 0 < p50 <= p99
            assert all(answered)
            # A call that was hedged may be answered twice at the same instant; few are hedged at all.
            assert calls <= sum(answered) <= 1.02 * calls
        demo.assert_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["two servers start", "the client calls over", "dropped B", "started anew"])
async def test_a_signal_ends_it_at_any_time(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    """After Ctrl-C or SIGTERM it stops its servers and removes its files, whatever it was doing."""
    async with show(tmp_path) as demo:
        await demo.until(moment)
        demo.process.send_signal(number)
        assert await demo.end() == 128 + number
        assert f"{number.name}: the servers have ended" in demo.output
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
        demo.assert_nothing_is_left()


async def test_a_failed_call_is_not_hidden(tmp_path: Path) -> None:
    """A wrong answer is a failure: it is counted, shown with the servers' logs, and is the exit status."""
    code = "from meshcore import demo; demo._PHASE = 0.3; demo._TOTAL += 1; raise SystemExit(demo.run())"
    async with show(tmp_path, "-c", code) as demo:
        assert await demo.end() == 1
        assert "no call failed" not in demo.output
        assert re.search(r"\d+ failures$", demo.output, re.MULTILINE)
        assert "a wrong order" in demo.output
        assert "log of A" in demo.output
        demo.assert_nothing_is_left()


async def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    """A server that cannot start is named, and its log shown."""
    code = "import sys; from meshcore import demo; demo.orders.__name__ = 'nowhere'; raise SystemExit(demo.run())"
    async with show(tmp_path, "-c", code) as demo:
        assert await demo.end() == 1
        assert "failed: server A ended with status 1" in demo.output
        assert "no Python module 'nowhere'" in demo.output
        demo.assert_nothing_is_left()
