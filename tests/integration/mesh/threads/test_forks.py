"""Processes that are forked from one that has entered a mesh: they get an error at once, and can make their own."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from tests.support.processes import ROOT, serve

REFUSED = (
    "in process #, but its mesh runs in process #, which forked this one: make a mesh after the fork, such as at its "
    "first use"
)
UNUSABLE = REFUSED.replace("its mesh", "it")


async def printed(folder: Path, how: str) -> list[str]:
    """What the program `forking` prints, without the numbers of processes."""
    async with serve(folder, "tests.integration.mesh.threads.doors:DoorsModule"):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.mesh.threads.forking", how, f"directory://{folder}/registry"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), 90)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert (process.returncode, err.decode()) == (0, "")
    return re.sub(r"process \d+", "process #", out.decode()).splitlines()


async def test_a_blocking_mesh_of_before_the_fork(tmp_path: Path) -> None:
    """Nothing hangs: neither a call, nor the end of its block, nor the end of the process."""
    assert await printed(tmp_path, "blocking") == [
        f"proxy: failed_precondition sync-by-async.ask was called {REFUSED}",
        f"other policy: failed_precondition sync-by-async.ask was called {REFUSED}",
        f"get_service: failed_precondition this mesh was used {UNUSABLE}",
        f"get: failed_precondition this mesh was used {UNUSABLE}",
        "own mesh: own",
        "left",
        "parent: parent",
        "child: 3",
    ]


async def test_a_mesh_of_an_event_loop_of_before_the_fork(tmp_path: Path) -> None:
    """Its connections are the parent's, so no call is sent over them."""
    assert await printed(tmp_path, "loop") == [
        f"proxy: failed_precondition async-by-async.ask was called {REFUSED}",
        f"def proxy: failed_precondition sync-by-async.ask was called {REFUSED}",
        f"get_service: failed_precondition this mesh was used {UNUSABLE}",
        "stop: None",
        "own mesh: own",
        "parent: parent",
        "child: 0",
    ]
