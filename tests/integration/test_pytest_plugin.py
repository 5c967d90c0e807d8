"""The pytest plugin in a pytest of its own: with everybody who may run async tests, and where nobody asks for it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.processes import ROOT

SUITE = """
import asyncio
import time

import pytest

from meshcore import CommunicationError
from meshcore.testing import Fault
from tests.support.wares import Ledger, Prices, Wares, WaresModule

{head}

class FakePrices(Prices):
    async def price(self, ware: str) -> int:
        return 42


{mark}
async def test_a_mesh(mesh_factory):
    async with mesh_factory(WaresModule, overrides={{Prices: FakePrices()}}) as mesh:
        assert await (await mesh.get_service(Wares)).buy("apple") == 42


{fixture}
async def wares(mesh_factory):
    async with mesh_factory(WaresModule, instances=2) as mesh:
        yield await mesh.get_service(Wares)


{mark}
async def test_faults(wares, mesh_faults):
    mesh_faults.then(Fault.DROP)
    with pytest.raises(CommunicationError):
        await wares.buy("apple")
    assert await wares.reserve("apple") == 5


def test_virtual_time(virtual_time, mesh_factory):
    async def scenario():
        async with mesh_factory(WaresModule) as mesh:
            begun = time.monotonic()
            await (await mesh.get_service(Wares)).wait(5.0)
            return time.monotonic() - begun

    assert virtual_time(scenario()) == pytest.approx(5.0, abs=0.01)


def test_nothing_async(consul):
    assert callable(consul)
"""
BACKEND = """
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
MODES = {
    "asyncio, strict": {
        "options": ["--asyncio-mode=strict"],
        "head": "import pytest_asyncio",
        "mark": "@pytest.mark.asyncio",
        "fixture": "@pytest_asyncio.fixture",
    },
    "asyncio, auto": {"options": ["--asyncio-mode=auto"], "fixture": "@pytest.fixture"},
    "anyio": {
        "options": ["-p", "no:asyncio"],
        "head": BACKEND,
        "mark": "@pytest.mark.anyio",
        "fixture": "@pytest.fixture",
    },
    "anyio beside asyncio": {
        "options": ["--asyncio-mode=strict"],
        "head": BACKEND,
        "mark": "@pytest.mark.anyio",
        "fixture": "@pytest.fixture",
    },
}

# Plugins that have nothing to do with it; that of schemathesis makes every start a second slower.
PLAIN = ["-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:schemathesis"]


def run(folder: Path, suite: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A pytest with the plugin, whether its entry point is installed here or not; warnings are errors."""
    (folder / "test_suite.py").write_text(suite)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    if "no:asyncio" not in options:
        options = (*options, "-o", "asyncio_default_fixture_loop_scope=function")  # it warns where nobody says
    plugin = ["-p", "no:meshcore", "-p", "meshcore.testing.pytest_plugin"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *PLAIN, *plugin, *options],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_fixtures_work_whoever_runs_async_tests(tmp_path: Path, mode: str) -> None:
    """A small suite with async tests and async fixtures of its own passes, all of it."""
    parts = {"head": "", "mark": "", **MODES[mode]}
    options = parts.pop("options")
    done = run(tmp_path, SUITE.format(**parts), *options)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.long
def test_a_failure_tells_its_seed_and_the_seed_repeats_it(tmp_path: Path) -> None:
    """What chance did can be done again; a test that passes says nothing of it."""
    suite = """
import pytest

@pytest.mark.parametrize("fails", [False, True])
def test_chance(mesh_faults, fails):
    mesh_faults.drop = mesh_faults.refuse = 0.4
    print("COURSE", [mesh_faults.next()[1].value for _ in range(20)])
    assert not fails
"""
    first = run(tmp_path, suite)
    assert "1 failed, 1 passed" in first.stdout, first.stdout + first.stderr
    (seed,) = [line.partition("--mesh-seed=")[2] for line in first.stdout.splitlines() if "--mesh-seed=" in line]
    (course,) = [line for line in first.stdout.splitlines() if line.startswith("COURSE")]
    assert course in run(tmp_path, suite, f"--mesh-seed={seed}").stdout


@pytest.mark.long
def test_all_workers_have_the_same_seed(tmp_path: Path) -> None:
    """Where tests run in several processes, one seed repeats all of them."""
    suite = "".join(f"def test_{at}(mesh_faults):\n    raise RuntimeError\n" for at in "ab")
    done = run(tmp_path, suite, "-n", "2")
    seeds = {line.partition("--mesh-seed=")[2] for line in done.stdout.splitlines() if "--mesh-seed=" in line}
    assert ("2 failed" in done.stdout, len(seeds)) == (True, 1), done.stdout + done.stderr


@pytest.mark.long
def test_anyio_runs_tests_in_virtual_time(tmp_path: Path) -> None:
    """The virtual loop fits its plugin: an hour is over at once, and the mesh goes by it."""
    suite = """
import asyncio
import time

import pytest

from meshcore.testing import VirtualLoop
from tests.support.wares import Wares, WaresModule

@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualLoop}

@pytest.fixture
async def wares(mesh_factory):
    async with mesh_factory(WaresModule) as mesh:
        yield await mesh.get_service(Wares)

@pytest.mark.anyio
async def test_an_hour(wares):
    begun = time.monotonic()
    for _ in range(400):
        await wares.wait(9.0)
    assert time.monotonic() - begun == pytest.approx(3600.0, abs=1.0)
"""
    done = run(tmp_path, suite, "-p", "no:asyncio")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_entry_point_leads_to_the_plugin() -> None:
    """It is declared under the name that the README turns it off by, and has its fixtures."""
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert list(entry_points) == ["meshcore"]
    plugin = import_module(entry_points["meshcore"])
    assert all(hasattr(plugin, name) for name in ("mesh_factory", "mesh_faults", "virtual_time", "consul"))


def test_a_suite_that_does_not_ask_for_it_is_left_alone(tmp_path: Path) -> None:
    """The plugin starts and opens nothing, and adds one line to the help only."""
    suite = """
import threading

def test_alone(request):
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
    assert not [name for name in request.fixturenames if "mesh" in name]
"""
    done = run(tmp_path, suite)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
