"""aspyx-service, whose interfaces ours are like: its own server and client, in an environment of their own.

Its pins contradict ours, so it gets a virtual environment, which is made at the first run and kept.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Slice
from benchmarks.processes import ROOT, Process, free_port, running
from tests.aspyx.environment import EnvironmentFailed, aspyx_python

ASYNC, SYNC = "aspyx async", "aspyx sync"
MODES = {ASYNC: "async", SYNC: "sync"}
HERE = Path(__file__).parent
LIMIT = 120.0


class NoSeedError(RuntimeError):
    """There is no aspyx-service here; the text says why."""


@dataclass
class Seed:
    """A running aspyx server, and how to call it.

    Attributes:
        python: of the environment.
        server: the process.
        version: of aspyx-service.
    """

    python: Path
    server: Process
    version: str

    def turn(self, name: str, callers: int, seconds: float, loop: str) -> Slice:
        """Load by a client process of its own; its start and its warm-up are not in the figures, but for server CPU."""
        options = ("--mode", MODES[name], "--concurrency", str(callers), "--seconds", str(seconds), "--loop", loop)
        cpu = self.server.cpu()
        done = subprocess.run(
            (str(self.python), "client.py", self.server.url, *options),
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"aspyx's client failed:\n{done.stdout}{done.stderr}")
        found = json.loads(done.stdout.splitlines()[-1])
        calls = len(found["times"])
        share = calls / (calls + found["warm_up"])
        return Slice(found["seconds"], found["times"], found["client"], (self.server.cpu() - cpu) * share)


@contextmanager
def seed() -> Generator[Seed, None, None]:
    """A running aspyx server.

    Raises:
        NoSeedError: the environment cannot be made, most often because there is no network.
    """
    try:
        python = aspyx_python(ROOT / ".cache")
    except (EnvironmentFailed, OSError) as error:
        raise NoSeedError(str(error)) from error
    port = free_port()
    with running((str(python), str(HERE / "server.py"), str(port)), {}, f"http://127.0.0.1:{port}", "/") as server:
        yield Seed(python, server, version_of(python))


def version_of(python: Path) -> str:
    """Of aspyx-service in this environment."""
    source = "from importlib.metadata import version; print(version('aspyx-service'))"
    return subprocess.run((str(python), "-c", source), capture_output=True, text=True, check=True).stdout.strip()
