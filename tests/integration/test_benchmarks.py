"""`python -m benchmarks`: the section that needs no second process, and what is printed of it."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.support.processes import ROOT

# Ten times the goals: this looks for a blunder, and the machine of a test may be busy.
SLACK = 10


async def benchmarks(*options: str) -> str:
    """What it prints; it ends well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--quick", "--only", "local", *options),
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
    assert [line.rsplit(maxsplit=1)[0].strip() for line in lines[section + 1 : section + 4]] == [
        "plain method call",
        "proxy, local",
        "proxy, local, 10 interceptors",
    ]
    goals = lines[lines.index("goals:") + 1 :]
    assert len(goals) == 2
    assert all(goal.split()[0] in {"reached", "MISSED"} for goal in goals)


async def test_a_local_call_costs_next_to_nothing() -> None:
    """The proxy and an interceptor cost microseconds, not more."""
    report = json.loads(await benchmarks("--json"))
    assert [row["name"] for row in report["rows"]] == [
        "plain method call",
        "proxy, local",
        "proxy, local, 10 interceptors",
    ]
    for goal in report["goals"]:
        assert goal["found"] < SLACK * goal["limit"], goal["text"]
