"""What a server tells of its calls, in a whole mesh in memory."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import AsyncIterator

import httpx
import pytest

from meshcore import (
    AbstractComponent,
    Code,
    Component,
    MeshError,
    Policy,
    Service,
    Settings,
    component,
    implementation,
    module,
    raises,
    service,
    with_policy,
)
from meshcore.serve.mesh_app import MeshApp
from meshcore.testing import memory_mesh


class SoldOut(Exception):
    """No hat is left."""


@service()
class Hats(Service):
    @abstractmethod
    async def buy(self, size: int) -> int: ...

    @abstractmethod
    @raises(SoldOut)
    async def reserve(self) -> None: ...

    @abstractmethod
    async def fail(self) -> None: ...


@service()
class Sizes(Service):
    @abstractmethod
    def watch(self, sizes: AsyncIterator[int]) -> AsyncIterator[int]: ...


@component(name="hats", services=[Hats, Sizes])
class HatsComponent(Component): ...


@implementation()
class HatsImpl(Hats):
    async def buy(self, size: int) -> int:
        return size

    async def reserve(self) -> None:
        raise SoldOut

    async def fail(self) -> None:
        raise MeshError(Code.UNAVAILABLE, "the shelf is gone", retryable=False)


@implementation()
class SizesImpl(Sizes):
    async def watch(self, sizes: AsyncIterator[int]) -> AsyncIterator[int]:
        async for size in sizes:
            yield size
            yield size


@implementation()
class HatsComponentImpl(AbstractComponent, HatsComponent): ...


@module()
class HatsModule: ...


async def read(app: MeshApp, path: str) -> httpx.Response:
    """What a server answers."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.get(path)


def counted(text: str) -> dict[tuple[str, str], int]:
    """How many calls there were, by method and status."""
    found = {}
    for line in text.splitlines():
        if "call_duration_seconds_count" in line:
            labels = dict(part.split("=") for part in line[line.index("{") + 1 : line.index("}")].split(","))
            key = labels["rpc_method"].strip('"'), labels["rpc_response_status_code"].strip('"')
            found[key] = int(line.rsplit(" ", 1)[1])
    return found


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "stream-msgpack"])
async def test_both_sides_count_the_same_calls(channel):
    """With their status: over each channel, streams as well, and nothing twice."""
    async with memory_mesh(HatsModule, channel=channel) as mesh:
        hats = await mesh.get_service(Hats, channel)
        for size in range(5):
            await hats.buy(size)
        with pytest.raises(SoldOut):
            await hats.reserve()
        for _ in range(2):
            with pytest.raises(MeshError):
                await hats.fail()
        expected = {
            ("hats/buy", "ok"): 5,
            ("hats/reserve", "failed_precondition"): 1,
            ("hats/fail", "unavailable"): 2,
        }
        if channel == "stream-msgpack":

            async def sizes():
                yield 1
                yield 2

            assert [size async for size in (await mesh.get_service(Sizes)).watch(sizes())] == [1, 1, 2, 2]
            expected["sizes/watch", "ok"] = 1
        server = (await read(mesh.servers[0], "/metrics")).text
        assert counted(server) == expected
        made = mesh.client.metrics()
        for name, labels in (("rpc_client_call_duration_seconds", 5), ("meshcore_client_attempts", 3)):
            assert {len(sample.labels) for sample in made[name]} == {labels}
        attempts = {(sample.labels[0], sample.labels[2]): sample.value for sample in made["meshcore_client_attempts"]}
        assert attempts["hats/buy", "ok"] == 5
        assert attempts["hats/reserve", "SoldOut"] == 1
        if channel == "stream-msgpack":
            items = {sample.labels[2]: sample.value for sample in made["meshcore_client_stream_items"]}
            assert items == {"sent": 2, "received": 4}
            labels = 'rpc_method="sizes/watch",server_address="hats"'
            assert f'meshcore_server_stream_items_total{{{labels},direction="sent"}} 4' in server
            assert f'meshcore_server_stream_items_total{{{labels},direction="received"}} 2' in server
            assert "meshcore_server_stream_connections 1\n" in server


async def test_unknown_methods_and_bad_arguments_count_too():
    """The first as one series, whatever they are called."""
    async with memory_mesh(HatsModule) as mesh:
        transport = httpx.ASGITransport(mesh.servers[0])
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for number in range(20):
                body = {"method": f"hats:hats:method{number}", "args": []}
                await client.post("/invoke", json=body)
            headers = {"mesh-timeout-ms": "1000", "mesh-caller": "till"}
            await client.post("/invoke", json={"method": "hats:hats:buy", "args": ["large"]}, headers=headers)
        server = mesh.servers[0]
        assert counted((await read(server, "/metrics")).text) == {
            ("_OTHER", "unimplemented"): 20,
            ("hats/buy", "invalid_argument"): 1,
        }
        (summary,) = json.loads((await read(server, "/report/summary")).content)["processes"]
        (buy,) = [each for each in summary["served"] if each["method"] == "hats/buy"]
        (till,) = buy["callers"]
        assert (till["name"], till["calls"], till["failures"], sum(till["counts"])) == ("till", 1, 1, 1)
        assert "int" in buy["errors"][0]["last"]


async def test_the_summary_names_the_process():
    """And a caller that does not say who it is has the empty name."""
    async with memory_mesh(HatsModule, channel="dispatch-msgpack") as mesh:
        hats = await mesh.get_service(Hats)
        await hats.buy(1)
        (summary,) = json.loads((await read(mesh.servers[0], "/report/summary")).content)["processes"]
        assert summary["about"]["components"] == ["hats"]
        assert summary["about"]["ready"] is True
        (buy,) = summary["served"]
        assert [caller["name"] for caller in buy["callers"]] == [""]
        assert buy["recent"]["calls"] == 1


async def test_refusals_count_by_their_reason():
    """A call that is refused was not executed; its status says that as well."""
    settings = Settings(registry="local:", adaptive_limit=False, max_concurrency=1)
    async with memory_mesh(HatsModule, channel="dispatch-json", settings=settings) as mesh:
        server = mesh.servers[0]._server
        server.active += 1
        hats = await mesh.get_service(Hats)
        with pytest.raises(MeshError):
            await with_policy(hats, Policy(timeout=0.2)).buy(1)
        server.active -= 1
        text = (await read(mesh.servers[0], "/metrics")).text
        count = int(text.partition('refusals_total{reason="max_concurrency"} ')[2].split("\n")[0])
        assert count >= 1
        assert counted(text) == {("_OTHER", "resource_exhausted"): count}


async def test_refusals_of_a_connection_count_too():
    """Calls that come on a stream connection after it has said that it goes away; their client sends them elsewhere."""
    settings = Settings(registry="local:", adaptive_limit=False)
    async with memory_mesh(HatsModule, channel="stream-msgpack", settings=settings) as mesh:
        hats = await mesh.get_service(Hats)
        await hats.buy(1)
        (go_away,) = mesh.servers[0]._server.drains
        go_away()
        assert await asyncio.gather(hats.buy(2), hats.buy(3)) == [2, 3]
        text = (await read(mesh.servers[0], "/metrics")).text
        assert 'refusals_total{reason="stopping"} 2\n' in text
        assert counted(text)["_OTHER", "unavailable"] == 2


@pytest.mark.parametrize(("path", "expected"), [("/stats/prometheus", 200), ("", 404)])
async def test_the_path_is_a_setting(path, expected):
    """Empty turns it off."""
    settings = Settings(registry="local:", adaptive_limit=False, metrics=path)
    async with memory_mesh(HatsModule, settings=settings) as mesh:
        assert (await read(mesh.servers[0], path or "/metrics")).status_code == expected
        assert (await read(mesh.servers[0], "/metrics")).status_code == 404
