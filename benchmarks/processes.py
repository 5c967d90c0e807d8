"""Server processes: started on free ports, asked until they answer, stopped by their own handle."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
START = 30.0
STOP = 10.0

CORES = os.sched_getaffinity(0) if sys.platform == "linux" else set[int]()
CLIENT, SERVER = 0, 1


@dataclass
class Process:
    """A running server."""

    pid: int
    url: str

    def cpu(self) -> float:
        """CPU seconds of all its threads so far; 0 where there is no /proc."""
        tasks = Path(f"/proc/{self.pid}/task")
        if not tasks.is_dir():
            return 0.0
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def pin(pid: int, core: int) -> bool:
    """Keep a process, 0 for this one, and those that it starts on one core; whether that can be done here.

    Left alone, two processes that wake each other often share a core of two, for seconds, which halves their rate.
    It is not neutral, though: a client of many threads is faster on one core, as its threads do not fight for the GIL
    across cores (aspyx sync at 64 callers). So figures need to say which it was.
    """
    if sys.platform != "linux":
        return False
    cores = sorted(CORES)
    if len(cores) > 1:
        os.sched_setaffinity(pid, {cores[core]})
    return len(cores) > 1


def leave_alone() -> None:
    """Make `pin` do nothing."""
    CORES.clear()


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop of a process, asyncio's or uvloop's."""
    return importlib.import_module("uvloop").new_event_loop if loop == "uvloop" else None


@contextmanager
def everywhere() -> Generator[None, None, None]:
    """Let this process, and what it starts meanwhile, run on every core again."""
    if sys.platform != "linux" or not CORES:
        yield
        return
    placed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, placed)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def hypercorn(
    application: str, loop: str, env: Mapping[str, str], port: int, path: str, *more: str
) -> Generator[Process, None, None]:
    """A hypercorn that serves an application, with its own defaults, whatever the application.

    Args:
        application: as "module:name".
        loop: the class of its worker, asyncio or uvloop.
        env: further variables.
        port: where.
        path: answers with any status below 500 when it is ready, in clear text.
        more: options.
    """
    # --workers 0: this very process serves, so that its CPU time is the server's.
    options = ("-b", f"127.0.0.1:{port}", "--workers", "0", "--worker-class", loop, *more)
    command = (sys.executable, "-m", "hypercorn", *options, application)
    with running(command, env, f"http://127.0.0.1:{port}", path) as process:
        yield process


@contextmanager
def running(command: Sequence[str], env: Mapping[str, str], url: str, path: str) -> Generator[Process, None, None]:
    """A server process, from when it answers until the end of the block.

    Raises:
        RuntimeError: it does not start; the text is what it printed.
    """
    with tempfile.TemporaryFile() as log:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            pin(process.pid, SERVER)
            if not _answers(process, f"{url}{path}"):
                log.seek(0)
                raise RuntimeError(f"{' '.join(command)} does not serve:\n{log.read().decode(errors='replace')}")
            yield Process(process.pid, url)
        finally:
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    give_up = time.monotonic() + START
    while time.monotonic() < give_up and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError as error:
            if error.code < 500:  # noqa: PLR2004 - a server that is not ready says 503
                return True
        except OSError:
            pass
        else:
            return True
        time.sleep(0.05)
    return False
