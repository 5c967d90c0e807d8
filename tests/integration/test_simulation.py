"""`python -m benchmarks.simulation`: the goals for the data plane under stress, and the clock that they are held on."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest

from benchmarks.simulation.clock import VirtualLoop
from benchmarks.simulation.plan import DEFAULT, WRITES
from benchmarks.simulation.run import simulate
from benchmarks.simulation.scenario import Fault, Scenario
from tests.support.processes import ROOT


async def python(*arguments: str, hashes: str = "random") -> str:
    """What a process prints; it ends well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hashes},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, f"{output.decode()}\n{errors.decode()}"
    return output.decode()


@pytest.mark.timeout(180)
async def test_the_goals_are_reached() -> None:
    """A slow, a failing instance and an overload cost what the project says they may."""
    output = await python("-m", "benchmarks.simulation", "--quick", "--strict")
    goals = output[output.index("goals:") :].splitlines()[1:6]
    assert [goal.split()[0] for goal in goals] == ["reached"] * 5


RUN = """
from benchmarks.simulation.run import simulate
from benchmarks.simulation.scenario import ALL, Scenario, Variant
for seed in 7, 8:
    run = simulate(Scenario(0.8, ALL), Variant(), 1.0, seed)
    print(run.attempts, sum(each.seconds for each in run.samples))
"""


async def test_the_same_seed_gives_the_same_calls() -> None:
    """A run can be repeated exactly, in another process too; another seed is another run."""
    first, again = await asyncio.gather(*(python("-c", RUN, hashes=hashes) for hashes in ("1", "2")))
    assert first == again
    one, other = first.splitlines()
    assert one != other


def test_what_must_not_be_repeated_is_not() -> None:
    """Calls that may have been processed are sent once, so some of them fail where others are saved."""
    scenario = Scenario(0.5, (Fault.FAILING,))
    writes, reads = (simulate(scenario, variant, 1.0, 1).found() for variant in (WRITES, DEFAULT))
    assert writes.amplification == pytest.approx(1.0, abs=0.005)
    assert writes.success < reads.success == 1.0


def test_virtual_time_takes_no_time() -> None:
    """An hour is over at once, and everything in it happened in its order."""
    happened: list[tuple[float, str]] = []

    async def nap(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        happened.append((asyncio.get_running_loop().time(), name))

    async def hour() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(nap("long", 3600.0))
            group.create_task(nap("short", 0.5))

    begun = time.perf_counter()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(hour())
    assert time.perf_counter() - begun < 5.0
    assert happened == [(0.5, "short"), (3600.0, "long")]


def test_waiting_for_nothing_is_an_error() -> None:
    """A simulation that could only hang says so."""

    async def hang() -> None:
        await asyncio.Event().wait()

    loop = VirtualLoop()
    waiting = loop.create_task(hang())
    with pytest.raises(RuntimeError, match="never happen"):
        loop.run_until_complete(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(waiting)
    loop.close()
