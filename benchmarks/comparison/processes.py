"""The processes of a peer, as the benchmark sees them: started, asked, measured, stopped."""

from __future__ import annotations

import asyncio
import os
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from benchmarks.comparison.child import MARK
from benchmarks.processes import ROOT, STOP, pin

START = 60.0
"""Seconds until a process has to say that it is ready: some libraries take long to import on a busy machine."""

LINE = 1 << 20


class PeerFailedError(RuntimeError):
    """A process of a peer does not do what it should; the text says what it printed."""


class Child:
    """A process that answers lines of JSON.

    Args:
        process: the process.
        log: what it prints.
    """

    def __init__(self, process: Process, log: IO[bytes]) -> None:
        self._process = process
        self._log = log

    async def hear(self, seconds: float) -> Any:
        """The next line.

        Raises:
            PeerFailedError: none comes in time, or the process has ended, or says that it failed.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                while (line := await self._process.stdout.readline()) and not line.startswith(MARK.encode()):
                    pass
        except TimeoutError as error:
            raise PeerFailedError(f"no answer within {seconds:g} s{self._printed()}") from error
        if not line:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP):
                    await self._process.wait()  # until then it may print why
            raise PeerFailedError(f"the process has ended{self._printed()}")
        said = msgspec.json.decode(line.removeprefix(MARK.encode()))
        if "error" in said:
            raise PeerFailedError(said["error"])
        return said

    async def ask(self, message: dict[str, Any], seconds: float) -> Any:
        """Send a line, and wait for the next.

        Raises:
            PeerFailedError: as `hear`.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        return await self.hear(seconds)

    def cpu(self) -> float:
        """CPU seconds of the process so far, and of those that it started; 0 where there is no /proc."""
        return sum(_cpu(pid) for pid in _family(self._process.pid))

    def memory(self) -> float:
        """The most memory that it had so far, and those that it started, in bytes; 0 where there is no /proc."""
        return sum(_peak(pid) for pid in _family(self._process.pid))

    def _printed(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


@asynccontextmanager
async def child(command: Sequence[str], core: int) -> AsyncGenerator[Child, None]:
    """A process on one core, from its start until the end of the block. It is to end when its input does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=log, env=environment, cwd=ROOT, limit=LINE
        )
        pin(process.pid, core)
        try:
            yield Child(process, log)
        finally:
            await _end(process)


async def _end(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    for more in (process.terminate, process.kill, None):
        try:
            async with asyncio.timeout(STOP):
                await process.wait()
        except TimeoutError:
            if more is None:
                raise
            more()
        else:
            return


def _family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += [int(child) for child in _read(children).split()]
    return found


def _cpu(pid: int) -> float:
    statistics = [_read(task).split() for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(fields[0]) for fields in statistics if fields) / 1e9


def _peak(pid: int) -> float:
    lines = _read(Path(f"/proc/{pid}/status")).splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _read(file: Path) -> str:
    """What it says; nothing if the process or the thread has ended meanwhile."""
    try:
        return file.read_text()
    except OSError:
        return ""
