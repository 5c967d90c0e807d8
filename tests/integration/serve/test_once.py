"""Writes with an idempotency key, over every channel."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import msgspec
import pytest

from meshcore import (
    Call,
    Code,
    Handler,
    Interceptors,
    LocalError,
    Mesh,
    MeshApp,
    MeshError,
    Policy,
    Settings,
    client_module,
    create,
    module,
    with_key,
    with_policy,
)
from meshcore.testing.servers import served
from meshcore.wire.headers import IDEMPOTENCY_KEY
from tests.integration.serve.ordering import Ordering, OrderingComponent, OrderingModule, SoldOut


async def twice(handler: Handler, call: Call) -> Any:
    """Send every write twice at once and then again, as if answers got lost; all must come to the same."""
    if call.method.idempotency_key is None:
        return await handler(call)
    found = await asyncio.gather(handler(call), handler(call), return_exceptions=True)
    again = await asyncio.gather(handler(msgspec.structs.replace(call, attempt=2)), return_exceptions=True)
    assert found == [again[0], again[0]]
    if isinstance(again[0], BaseException):
        raise again[0]
    return again[0]


@module(components=[OrderingComponent])
class Client:
    @create()
    def interceptors(self) -> Interceptors:
        return Interceptors(client=[twice])


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "rest"])
async def test_a_write_is_executed_once(channel: str) -> None:
    """Each call gets a key of its own, which all its attempts share; repetitions get its result, or its error."""

    def make(url: str) -> MeshApp:
        return MeshApp(OrderingModule, settings=Settings(registry="local:", advertise_url=url, drain=1.0))

    async with (
        served(make) as url,
        Mesh(Client, settings=Settings(registry=f"static:ordering={channel}({url})")) as mesh,
    ):
        ordering = await mesh.get_service(Ordering, channel)
        assert await ordering.order("hat", 0.1) == 1
        assert await ordering.order("hat") == 2
        with pytest.raises(SoldOut) as sold_out:
            await ordering.order("unicorn")
        assert sold_out.value == SoldOut("unicorn")
        assert await ordering.executed() == 3


async def test_a_call_may_bring_its_own_key() -> None:
    """A key that an interceptor or the application has set stays, in two calls as well."""

    async def with_key(handler: Handler, call: Call) -> Any:
        return await handler(msgspec.structs.replace(call, headers={IDEMPOTENCY_KEY: "mine"}))

    @module(components=[OrderingComponent])
    class Keyed:
        @create()
        def interceptors(self) -> Interceptors:
            return Interceptors(client=[with_key])

    def make(url: str) -> MeshApp:
        return MeshApp(OrderingModule, settings=Settings(registry="local:", advertise_url=url, drain=1.0))

    async with served(make) as url, Mesh(Keyed, settings=Settings(registry=f"static:ordering=rest({url})")) as mesh:
        ordering = await mesh.get_service(Ordering, "rest")
        assert [await ordering.order("hat"), await ordering.order("hat")] == [1, 1]


async def test_a_job_that_runs_again_pays_once() -> None:
    """`with_key` over each channel, and `Idempotency-Key` of any client over REST, is one key for the same call."""

    def make(url: str) -> MeshApp:
        return MeshApp(OrderingModule, settings=Settings(registry="local:", advertise_url=url, drain=1.0))

    async with served(make) as url:
        for channel in ("dispatch-json", "dispatch-msgpack", "rest"):
            for _ in range(2):
                async with Mesh(
                    client_module(OrderingComponent), settings=Settings(registry=f"static:ordering={channel}({url})")
                ) as mesh:
                    ordering = with_key(await mesh.get_service(Ordering), "order-7")
                    assert await ordering.order("hat") == 1
                    with pytest.raises(MeshError) as used:
                        await ordering.order("coat")
                    assert used.value.code is Code.ALREADY_EXISTS
                    assert await with_policy(ordering, Policy(timeout=9.0)).order("hat") == 1
                    with pytest.raises(LocalError, match=r"ordering\.executed takes no idempotency key"):
                        await ordering.executed()
        async with aiohttp.ClientSession(headers={"Idempotency-Key": '"order-7"'}) as session:
            for sku, status in (("hat", 200), ("coat", 409)):
                async with session.post(f"{url}/orders?sku={sku}") as response:
                    assert response.status == status
