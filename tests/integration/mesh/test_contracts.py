"""Clients and servers of different versions: what is announced, served and reported."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from meshcore import Mesh, MeshApp, RemoteError, Settings
from meshcore.contract.contract import decode_contract, digests_of
from meshcore.core.instances import ChannelAddress, Instance
from meshcore.registry import DirectoryComponentRegistry
from meshcore.testing.servers import served
from tests.support.version_1 import Desk
from tests.support.version_1 import ShopModule as First
from tests.support.version_2 import ShopModule as Second
from tests.support.version_3 import ShopModule as Third
from tests.support.version_client import Client

LOGGER = "meshcore.client.mismatch"


class World:
    """Servers and clients that find each other in one folder."""

    def __init__(self, folder: Path) -> None:
        self.registry = f"directory://{folder}/registry"
        self.folder = folder / "registry"

    @asynccontextmanager
    async def server(self, module: type) -> AsyncGenerator[str]:
        """A server."""

        def make(url: str) -> MeshApp:
            return MeshApp(module, settings=Settings(registry=self.registry, advertise_url=url, drain=1.0))

        async with served(make) as url:
            yield url

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Mesh]:
        """A client of the first version that has seen somebody."""
        async with Mesh(Client, settings=Settings(registry=self.registry)) as mesh:
            await mesh.wait_for(Desk)
            yield mesh


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty one."""
    return World(tmp_path)


async def reported(caplog: pytest.LogCaptureFixture, count: int = 1) -> list[str]:
    """What was logged of mismatches, once so many records are there."""
    async with asyncio.timeout(10):
        while len(found := [each.getMessage() for each in caplog.records if each.name == LOGGER]) < count:
            await asyncio.sleep(0.01)
    return found


async def test_what_is_served_is_what_is_announced(world: World) -> None:
    """The contract is at /contract, its digest in the registry, one part for each service."""
    async with world.server(First) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/contract") as response:
            contract = decode_contract(await response.read())
            assert response.content_type == "application/json"
        (component,) = contract.components
        async with DirectoryComponentRegistry(world.folder) as registry:
            async with asyncio.timeout(10):
                while not (found := await registry.instances()):
                    await asyncio.sleep(0.01)
            (instance,) = found["shop"]
        assert instance.digest == component.digest
        assert digests_of(instance.digest) == {"desk": component.services[0].digest}
        async with session.get(f"{url}/report") as response:
            assert (await response.json())["instances"][0]["digest"] == instance.digest


async def test_the_same_version_is_not_reported(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody hears of what fits."""
    async with world.server(First), world.client() as mesh:
        await mesh.runtime.destinations.compare_contracts(mesh.runtime.catalog.component_of(Desk))
        assert await reported(caplog, 0) == []
        assert mesh.why(Desk, "place").contract == ()


async def test_a_compatible_version(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is reported by method with what differs, once for however many instances, and calls succeed."""
    # The servers end last: one that a test embeds waits for its clients.
    async with AsyncExitStack() as servers, AsyncExitStack() as clients:
        await servers.enter_async_context(world.server(Second))
        mesh = await clients.enter_async_context(world.client())
        (text,) = await reported(caplog)
        assert text.split(" of shop serves ")[1].splitlines() == [
            "another version than is declared here, changes: 3, none of them breaking",
            "  compatible: desk.place: parameter 2 'note' is new and optional",
            "  compatible: desk.place: result.note is new",
            "  compatible: desk.count: is new",
        ]
        assert caplog.records[-1].levelno == logging.WARNING
        await servers.enter_async_context(world.server(Second))
        async with asyncio.timeout(10):
            while len(mesh.why(Desk, "place").instances) < 2:
                await asyncio.sleep(0.01)
        await mesh.runtime.destinations.compare_contracts(mesh.runtime.catalog.component_of(Desk))
        assert len(await reported(caplog)) == 1
        desk = await mesh.get_service(Desk)
        assert (await desk.place("hat")).number == 2
        assert mesh.why(Desk, "place").contract == (
            "compatible: desk.place: parameter 2 'note' is new and optional",
            "compatible: desk.place: result.note is new",
        )
        assert mesh.why(Desk, "cancel").contract == ()


async def test_a_breaking_version(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is reported; a call that does not fit goes out and gets the server's error, and the other methods work."""
    async with world.server(Third), world.client() as mesh:
        (text,) = await reported(caplog)
        assert text.splitlines()[1:] == ["  breaking: desk.place: parameter 2 'priority' is new and required"]
        assert text.splitlines()[0].endswith("another version than is declared here, changes: 1, 1 of them breaking")
        desk = await mesh.get_service(Desk)
        with pytest.raises(RemoteError, match=r"desk\.place"):
            await desk.place("hat")
        await desk.cancel(1)


async def test_a_version_that_cannot_be_asked(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """If the contract cannot be had, the service is named, with the reason; and the mesh goes on."""
    async with world.server(Third) as url, DirectoryComponentRegistry(world.folder) as registry:
        # As if another version had been started meanwhile under the same address.
        other = Instance("other", "shop", (ChannelAddress("dispatch-json", url),), digest="desk=00000000")
        foreign = Instance("foreign", "shop", (ChannelAddress("dispatch-json", url),), digest="0123456789abcdef")
        away = Instance(
            "away", "shop", (ChannelAddress("dispatch-json", "http://127.0.0.1:9"),), digest="desk=0000000a"
        )
        async with (
            registry.announce(other),
            registry.announce(foreign),
            registry.announce(away),
            world.client() as mesh,
        ):
            async with asyncio.timeout(10):
                while len(mesh.why(Desk, "place", "dispatch-json").instances) < 4:
                    await asyncio.sleep(0.01)
            texts = await reported(caplog, 3)
            assert (
                "instance other of shop serves another version of desk than is declared here "
                f"({url}/contract is not that of this instance)"
            ) in texts
            assert any(text.startswith("instance away of shop serves another version of desk") for text in texts)
            assert len(texts) == 3
            assert sum("differs from what is declared" in each for each in mesh.why(Desk, "place").contract) == 2
