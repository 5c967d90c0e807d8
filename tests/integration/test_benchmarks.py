"""`python -m benchmarks`: what is printed of the section that needs no second process, and the one through Consul."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from tests.support.processes import ROOT

pytestmark = pytest.mark.long

# Ten times the goals: this looks for a blunder, and the machine of a test may be busy.
SLACK = 10

ROWS = [
    "plain method call",
    "proxy, local",
    "proxy, local, 10 interceptors",
    "in memory, a text",
    "in memory, a bundle of 7 items",
]


async def benchmarks(*options: str, section: str = "local") -> str:
    """What it prints; it ends well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--quick", "--only", section, *options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_the_table_names_the_machine_the_versions_and_every_row() -> None:
    """The table can be quoted as it stands."""
    lines = (await benchmarks()).splitlines()
    assert "core" in lines[0]
    assert all(name in lines[1] for name in ("Python", "hypercorn", "aiohttp", "msgspec"))
    section = lines.index("in one process:")
    assert [line.rsplit(maxsplit=1)[0].strip() for line in lines[section + 1 : section + 6]] == ROWS
    goals = lines[lines.index("goals:") + 1 :]
    assert len(goals) == 3
    assert all(goal.split()[0] in {"reached", "MISSED"} for goal in goals)


async def test_a_local_call_costs_next_to_nothing() -> None:
    """The proxy and an interceptor cost microseconds, not more."""
    report = json.loads(await benchmarks("--json"))
    assert [row["name"] for row in report["rows"]] == ROWS
    for goal in report["goals"]:
        assert goal["found"] < SLACK * goal["limit"], goal["text"]


@pytest.mark.timeout(300)  # the first to run makes the environment of aspyx-service
async def test_servers_come_and_go_through_consul() -> None:
    """No call fails when servers are stopped and killed, and a dead one is hardly asked once it was found so."""
    report = json.loads(await benchmarks("--json", section="consul"))
    names = [row["name"] for row in report["rows"]]
    assert names[:3] == ["bare blocking query", "announce to first call", "the same, right after a change"]
    assert names[-2:] == ["aspyx: listens to listed", "aspyx: stopped to no longer"]
    assert len(report["goals"]) == 5
    bare, announced = (row["p50"] / 1000 for row in report["rows"][:2])
    for goal in report["goals"]:
        found = goal["found"]
        if "p99" in goal["text"]:  # of so few the slowest, so one stall of the machine is all that it would tell
            found = announced - bare
        assert found <= SLACK * goal["limit"], goal["text"]
