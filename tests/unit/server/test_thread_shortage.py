"""A server whose threads are held by calls that were given up: it refuses `def` calls, and says so."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from meshcore import (
    AbstractComponent,
    Code,
    Component,
    HealthCheckManager,
    HealthStatus,
    MeshError,
    Policy,
    Service,
    Settings,
    component,
    health,
    idempotency_key,
    implementation,
    module,
    post,
    rest,
    service,
    with_policy,
)
from meshcore.testing import memory_mesh
from meshcore.testing.memory import MemoryMesh

CHANNELS = ["dispatch-json", "dispatch-msgpack", "rest"]


class Gate:
    """What calls wait for.

    Attributes:
        held: calls that have begun to wait.
        paid: calls that were executed.
    """

    def __init__(self) -> None:
        self.open = threading.Event()
        self.held = 0
        self.paid = 0


@service()
@rest("/gates")
class Gates(Service):
    @post("/hold")
    @abstractmethod
    async def hold(self) -> None: ...

    @post("/pay")
    @idempotency_key()
    @abstractmethod
    async def pay(self) -> str: ...

    @post("/loop")
    @abstractmethod
    async def on_the_loop(self) -> str: ...


@component(name="gates", services=[Gates])
class GatesComponent(Component): ...


@implementation()
class GatesImpl(Gates):
    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def hold(self) -> None:  # type: ignore[override]
        self.gate.held += 1
        self.gate.open.wait(60)

    def pay(self) -> str:  # type: ignore[override]
        self.gate.paid += 1
        return "paid"

    async def on_the_loop(self) -> str:
        return "here"


@implementation()
@health("/gates-health")
class GatesComponentImpl(AbstractComponent, GatesComponent): ...


@module(provides=[Gate])
class GatesModule: ...


SETTINGS = Settings(registry="local:", max_threads=2, adaptive_limit=False, timeout=20.0)


@asynccontextmanager
async def stuck(gate: Gate, channel: str, instances: int = 1) -> AsyncGenerator[MemoryMesh]:
    """Servers, of which the first has no thread left."""
    async with memory_mesh(
        GatesModule, overrides={Gate: gate}, instances=instances, channel=channel, settings=SETTINGS
    ) as mesh:
        for other in range(1, instances):
            mesh.refuse(other)
        try:
            gates = with_policy(await mesh.get_service(Gates), Policy(timeout=0.2))
            while gate.held < 2:
                with pytest.raises(MeshError):
                    await gates.hold()
            async with asyncio.timeout(20):  # the server gives them up a little later than the caller
                while not (held := (await health_of(mesh)).checks) or not held[0].details.startswith("2 of 2"):
                    await asyncio.sleep(0.001)
            for other in range(1, instances):
                mesh.accept(other)
            yield mesh
        finally:
            gate.open.set()


async def health_of(mesh: MemoryMesh) -> HealthCheckManager.Health:
    """What the first server says of its component."""
    hosting = mesh.servers[0].mesh.runtime.hosting
    (hosted,) = mesh.servers[0].mesh.runtime.catalog.hosted
    return await hosting.health(hosted)


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_call_that_gets_no_thread_was_not_processed(channel: str) -> None:
    """Not even one with a key, which is executed when it is sent again; other calls go on."""
    gate = Gate()
    async with stuck(gate, channel) as mesh:
        gates = await mesh.get_service(Gates)
        with pytest.raises(MeshError, match="2 of 2 threads are held by calls that were given up") as refused:
            await with_policy(gates, Policy(attempts=1, timeout=3.0)).pay()
        error = refused.value
        assert (error.code, error.processed, error.retryable) == (Code.RESOURCE_EXHAUSTED, False, True)
        assert error.retry_after is not None
        assert await gates.on_the_loop() == "here"
        paying = asyncio.create_task(gates.pay())
        await asyncio.sleep(0)
        gate.open.set()
        assert await paying == "paid"
    assert gate.paid == 1


async def test_it_is_sent_to_another_instance() -> None:
    """Though it is a write."""
    gate = Gate()
    async with stuck(gate, "dispatch-msgpack", instances=2) as mesh:
        gates = await mesh.get_service(Gates)
        assert [await gates.pay() for _ in range(6)] == ["paid"] * 6
    assert gate.paid == 6


async def test_the_health_tells() -> None:
    """Until the threads are back."""
    gate = Gate()
    async with stuck(gate, "rest") as mesh:
        found = await health_of(mesh)
        assert found.status is HealthStatus.WARNING
        assert [(each.name, each.details) for each in found.checks] == [
            ("threads", "2 of 2 threads are held by calls that were given up (GatesImpl.hold)")
        ]
        gate.open.set()
        async with asyncio.timeout(20):
            while (await health_of(mesh)).checks:
                await asyncio.sleep(0.001)
        assert (await health_of(mesh)).status is HealthStatus.OK
