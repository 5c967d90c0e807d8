"""The pytest plugin: fixtures for tests of applications. pytest loads it wherever meshcore is installed.

All fixtures are plain ones that return functions and context managers. So they work with any runner of async tests:
pytest-asyncio in either mode, anyio's plugin, or none. A fixture loads what it needs when a test uses it. `-p
no:meshcore` turns the plugin off.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

# This file is imported at each start of pytest, so it imports nothing large.
from meshcore import testing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from meshcore.testing import ConsulAgent, Faults, MeshFactory

_SEED = "mesh_seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the seed of a run to repeat."""
    parser.getgroup("meshcore").addoption(
        "--mesh-seed", dest=_SEED, metavar="TEXT", help="seed of the faults of mesh_faults (default: by chance)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose a seed if none is given. A worker of pytest-xdist takes that of its controller."""
    told: str | None = getattr(config, "workerinput", {}).get(_SEED) or getattr(config.option, _SEED)
    setattr(config.option, _SEED, told or str(random.randrange(10**6)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist the seed."""
    node.workerinput[_SEED] = getattr(node.config.option, _SEED)


@pytest.fixture
def mesh_faults(request: pytest.FixtureRequest) -> Faults:
    """The faults of the meshes of `mesh_factory`: none, until the test sets some.

    All tests of a run use the same seed. A test that fails shows how to repeat it.
    """
    seed: str = getattr(request.config.option, _SEED)
    request.node.add_report_section("setup", "mesh_faults", f"the same faults again: --mesh-seed={seed}")
    return testing.Faults(seed)


@pytest.fixture
def mesh_factory(mesh_faults: Faults) -> MeshFactory:
    """Meshes in memory: `meshcore.testing.memory_mesh`, with `mesh_faults` in their calls."""
    return partial(testing.memory_mesh, faults=mesh_faults)


@pytest.fixture
def virtual_time() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine in virtual time, in a test that is not async: `meshcore.testing.run_virtually`."""
    return testing.run_virtually


@pytest.fixture
def consul() -> Callable[..., AbstractAsyncContextManager[ConsulAgent]]:
    """Real Consul agents, on free ports: `meshcore.testing.consul_agent`."""
    return testing.consul_agent
