"""The command line as its users run it: as a process of its own."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, chdir, suppress
from pathlib import Path

import aiohttp
from typer.testing import CliRunner

from meshcore.cli import program
from tests.support.processes import QUICK_START, ROOT


class Shell:
    """Runs `meshcore` in a folder, with a registry of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environ = {key: value for key, value in os.environ.items() if not key.startswith("MESHCORE_")}
        self.environ = {
            **environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **QUICK_START,
            "MESHCORE_REGISTRY": f"directory://{folder}/registry",
        }

    async def start(self, *words: str, stdin: int | None = None) -> asyncio.subprocess.Process:
        """Start a command."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshcore.cli", *words),
            cwd=self.folder,
            env=self.environ,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    async def __call__(self, *words: str, stdin: bytes | None = None) -> tuple[int | None, str, str]:
        """Run a command; its exit status and what it printed."""
        process = await self.start(*words, stdin=None if stdin is None else asyncio.subprocess.PIPE)
        out, err = await process.communicate(stdin)
        return process.returncode, out.decode(), err.decode()

    def invoke(self, *words: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        """Run a command in this process, in a tenth of the time; its exit status and what it printed.

        For commands that only call and print. One that serves has handlers of signals and loggers of its own.
        """
        environ = {key: value for key, value in self.environ.items() if os.environ.get(key) != value}
        path = sys.path[:]
        try:
            with chdir(self.folder):
                found = CliRunner().invoke(program.build(), words, input=stdin, env=environ)
        finally:
            sys.path[:] = path  # a command looks for modules in the current folder, too
        return found.exit_code, found.stdout, found.stderr

    async def on_a_terminal(
        self, *words: str, until: str = "", then: int = signal.SIGINT, **environ: str
    ) -> tuple[int | None, str]:
        """Run a command on a terminal, send a signal when a text is there; the exit status and all that it wrote."""
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshcore.cli", *words),
            cwd=self.folder,
            env={**self.environ, "TERM": "xterm-256color", "COLUMNS": "200", **environ},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        text = ""
        sent = not until
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(30):
            with suppress(OSError):  # the terminal of a process that has ended
                while data := await loop.run_in_executor(None, os.read, ours, 65_536):
                    text += data.decode(errors="replace")
                    if not sent and until in text:
                        sent = True
                        process.send_signal(then)
            status = await process.wait()
        os.close(ours)
        return status, text

    @staticmethod
    async def until_active(url: str) -> None:
        """Return when the server runs a call."""
        async with asyncio.timeout(20), aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{url}/report") as response:
                    if (await response.json())["active"]:
                        return
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def running(self, *words: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
        """A server on a free port that is ready, and its URL. What is left of its session is killed in the end."""
        process = await self.start("run", *words, "--bind", "127.0.0.1:0")
        assert process.stdout is not None
        try:
            line = (await process.stdout.readline()).decode()
            found = re.search(r"http://\S+", line)
            assert found, (line, await process.stderr.read())
            await until_status(f"{found[0]}/readyz", 200)
            yield process, found[0]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()


async def until_status(url: str, status: int) -> None:
    """Return when the URL answers so."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == status:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)


async def end(process: asyncio.subprocess.Process, number: int) -> tuple[int, str]:
    """Send a signal; the exit status and what was said on stderr."""
    process.send_signal(number)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, err.decode()
