"""The command line, and a server that its tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.cli.shell import Shell
from tests.support.processes import ServerProcess, serve


@pytest.fixture
def meshcore(tmp_path: Path) -> Shell:
    """The command line, in an empty folder and with a registry of its own."""
    return Shell(tmp_path)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """Serves the greeting, the orders and the probe, to all tests that leave it as it was."""
    async with serve(tmp_path_factory.mktemp("server"), "tests.integration.cli.everything:Everything") as server:
        yield server


@pytest.fixture
def called(meshcore: Shell, server: ServerProcess) -> Shell:
    """The command line, in an empty folder and with the registry of that server."""
    meshcore.environ["MESHCORE_REGISTRY"] = f"directory://{server.log.parent}/registry"
    return meshcore
