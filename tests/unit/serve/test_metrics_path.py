"""A path of the user's that is that of the metrics."""

from __future__ import annotations

from abc import abstractmethod

import httpx

from meshcore import AbstractComponent, Component, Service, component, get, implementation, module, rest, service
from meshcore.testing import memory_mesh


@service()
@rest("")
class Gauges(Service):
    @get("/metrics")
    @abstractmethod
    async def read(self) -> list[int]: ...


@component(services=[Gauges])
class GaugesComponent(Component): ...


@implementation()
class GaugesImpl(Gauges):
    async def read(self) -> list[int]:
        return [1]


@implementation()
class GaugesComponentImpl(AbstractComponent, GaugesComponent): ...


@module()
class GaugesModule: ...


async def test_a_method_with_that_path_has_it_for_itself():
    """As with the documents."""
    async with (
        memory_mesh(GaugesModule) as mesh,
        httpx.AsyncClient(transport=httpx.ASGITransport(mesh.servers[0]), base_url="http://127.0.0.1") as client,
    ):
        assert (await client.get("/metrics")).json() == [1]
