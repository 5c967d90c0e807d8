"""`python -m benchmarks.simulation`: the goals for the data plane under stress, and the clock that they are held on."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from benchmarks.simulation.plan import DEFAULT, WRITES
from benchmarks.simulation.run import simulate
from benchmarks.simulation.scenario import Fault, Scenario
from tests.support.processes import ROOT

pytestmark = pytest.mark.long


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


@pytest.mark.timeout(300)
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
