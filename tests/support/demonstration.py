"""Runs the demonstration as a user does, and looks what it leaves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from tests.support.processes import QUICK_START, ROOT

MAIN = ("-m", "meshcore.cli", "demo")


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

    def told(self, text: str) -> float:
        """The seconds that stand before the first line with such a text."""
        found = re.search(rf"^ *([\d.]+) s  .*{re.escape(text)}", self.output, re.MULTILINE)
        assert found is not None, self.output
        return float(found[1])

    async def end(self) -> int:
        """Its exit status."""
        assert self.process.stdout is not None
        self.output += (await self.process.stdout.read()).decode()
        return await self.process.wait()

    def assert_nothing_is_left(self) -> None:
        """No file, no process and no port."""
        assert list(self._folder.iterdir()) == []
        assert processes_with(self._marker) == []
        for url in re.findall(r"https?://[\d.]+:\d+", self.output):
            address = urlsplit(url)
            with socket.socket() as sock:
                # Where nobody listens, the system may happen to connect a socket to itself.
                answered = sock.connect_ex((address.hostname, address.port)) == 0
                assert not answered or sock.getsockname() == sock.getpeername(), f"somebody listens at {url}"


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
        *(sys.executable, *(words or MAIN)),
        cwd=ROOT,
        env={**environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", **QUICK_START, **dict([marker.split("=")])},
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
