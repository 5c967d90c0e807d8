"""The candidates: each variant of each peer that can be had here, with a server and a client process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.comparison.child import MARK
from benchmarks.comparison.payload import Workload
from benchmarks.comparison.processes import START, Child, PeerFailedError, child
from benchmarks.comparison.requirements import requirements
from benchmarks.comparison.turn import Turn
from benchmarks.processes import CLIENT, ROOT, SERVER, everywhere, free_port
from tests.aspyx.environment import EnvironmentFailed, python_with

PEERS = ROOT / "benchmarks" / "peers"
CACHE = ROOT / ".cache"
AT_ONCE = 2
"""Candidates that start at the same time."""

PATIENCE = 60.0
"""Seconds that a turn may take beyond its time."""


class Described(msgspec.Struct):
    """What a peer says of itself; see `child.describe`."""

    name: str
    variants: list[str]
    versions: dict[str, str]


@dataclass
class Found:
    """What there is to measure.

    Attributes:
        candidates: in the order of their peers.
        versions: of the packages of each peer.
        left_out: what there is not, and why.
    """

    candidates: list[Candidate] = field(default_factory=list)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


@dataclass
class Candidate:
    """One way to call, running.

    Attributes:
        peer: its name.
        variant: which of the ways of that peer.
        workloads: what it can be asked for.
        server: the process that answers.
        client: the process that calls.
        logged: warnings of the client.
    """

    peer: str
    variant: str
    workloads: Sequence[Workload]
    server: Child
    client: Child
    logged: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As the table says it."""
        return f"{self.peer} {self.variant}".strip()

    async def turn(self, workload: Workload, callers: int, seconds: float, items: int) -> Turn:
        """Let it have a turn.

        Raises:
            PeerFailedError: it does not come back from it.
        """
        cpu = self.server.cpu()
        asked = {"workload": workload, "callers": callers, "seconds": seconds, "items": items}
        said = await self.client.ask(asked, seconds + PATIENCE)
        self.logged += said["logged"]
        turn = msgspec.convert(said, Turn)
        turn.server = self.server.cpu() - cpu
        return turn


def peer_files(folder: Path = PEERS) -> dict[str, Path]:
    """The files of the peers, by what `--peer` calls them."""
    return {file.stem: file for file in sorted(folder.glob("*.py"))}


@asynccontextmanager
async def running(files: Iterable[Path], loop: str, cache: Path = CACHE) -> AsyncGenerator[Found, None]:
    """Start what these files can offer. What cannot be had is left out, and the reason is told.

    Args:
        files: of peers.
        loop: the event loop of all processes, where a peer has it: asyncio or uvloop.
        cache: has the environments.
    """
    found = Found()
    wanted: list[tuple[Path, Path, Described, str]] = []
    for file in files:
        try:
            with everywhere():
                python, described = await asyncio.to_thread(_prepare, file, cache)
        except (EnvironmentFailed, OSError, PeerFailedError, ValueError) as error:
            found.left_out.append(f"left out: {file.stem}: {_reason(error)}")
            continue
        found.versions[described.name] = described.versions
        wanted += [(python, file, described, variant) for variant in described.variants]
    limit = asyncio.Semaphore(AT_ONCE)

    async def start(stack: AsyncExitStack, python: Path, file: Path, described: Described, variant: str) -> None:
        async with limit:
            try:
                started.append((variant, await _start(stack, (str(python), "-P", str(file)), described, variant, loop)))
            except PeerFailedError as error:
                found.left_out.append(f"left out: {described.name} {variant}: {error}".strip())

    started: list[tuple[str, tuple[Candidate, dict[str, str]]]] = []
    async with AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as group:
            for each in wanted:
                group.create_task(start(stack, *each))
        order = [(described.name, variant) for _, _, described, variant in wanted]
        started.sort(key=lambda each: order.index((each[1][0].peer, each[0])))
        for _, (candidate, failed) in started:
            found.candidates.append(candidate)
            found.left_out += [f"left out: {candidate.name}, {load}: {reason}" for load, reason in failed.items()]
        yield found


async def _start(
    stack: AsyncExitStack, command: Sequence[str], described: Described, variant: str, loop: str
) -> tuple[Candidate, dict[str, str]]:
    """The candidate, and the workloads that failed, with the reasons."""
    arguments = (variant, str(free_port()), loop)
    server = await stack.enter_async_context(child((*command, "serve", *arguments), SERVER))
    await server.hear(START)
    client = await stack.enter_async_context(child((*command, "connect", *arguments), CLIENT))
    said = await client.hear(START)
    workloads = [Workload(name) for name in said["workloads"]]
    return Candidate(described.name, variant, workloads, server, client, said["logged"]), said["failed"]


def _prepare(file: Path, cache: Path) -> tuple[Path, Described]:
    """The Python that has the packages of a peer, and what the peer says of itself there."""
    needed = requirements(file.read_text(encoding="utf-8"))
    python = Path(sys.executable) if needed is None else python_with(cache, file.stem, needed)
    done = subprocess.run(
        (str(python), "-P", str(file), "describe"),
        capture_output=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        timeout=START,
        check=False,
        text=True,
    )
    if done.returncode:
        raise PeerFailedError(done.stderr.strip())
    return python, msgspec.json.decode(done.stdout.rpartition(MARK)[2], type=Described)


def _reason(error: Exception) -> str:
    """The line that tells most: pip and Python put it last, but for pip's advice about itself."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith(("[notice]", "WARNING"))]
    return lines[-1] if lines else type(error).__name__
