"""Rules of authorization in the key/value store of a real Consul agent, changed while servers run."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod

import pytest

from meshcore import (
    AbstractComponent,
    AuthorizationError,
    Component,
    Service,
    Settings,
    component,
    implementation,
    module,
    service,
)
from meshcore.testing import consul_agent, memory_mesh
from tests.integration.consul.scene import CACHE, to

pytestmark = pytest.mark.one_python

KEY = "mesh/authorization/rules"


@service()
class Safe(Service):
    @abstractmethod
    async def open(self) -> str: ...


@component(services=[Safe])
class SafeComponent(Component): ...


@implementation()
class SafeImpl(Safe):
    async def open(self) -> str:
        return "gold"


@implementation()
class SafeComponentImpl(AbstractComponent, SafeComponent): ...


@module()
class SafeModule: ...


def written(caller: str, effect: str = "allow") -> bytes:
    """Rules with one that is about a caller."""
    rule = {"name": "bank", "methods": "safe.*", "callers": {"components": caller}, "effect": effect}
    return json.dumps([rule]).encode()


async def becomes(safe: Safe, outcome: str) -> float:
    """Seconds until a call has that outcome."""
    begun = asyncio.get_running_loop().time()
    async with asyncio.timeout(10):
        while True:
            try:
                found = await safe.open()
            except AuthorizationError as error:
                found = error.message
            if found == outcome:
                return asyncio.get_running_loop().time() - begun
            await asyncio.sleep(0.005)


async def test_operators_change_who_may_call_while_servers_run(caplog, record_property):
    """Within milliseconds; unreadable rules change nothing, and are named in the log."""
    denied = "teller may not call safe.open"
    async with consul_agent(cache=CACHE) as agent, to(agent) as client:
        await client.write(KEY, written("manager"))
        settings = Settings(
            registry="local:",
            rules_key="authorization.rules",
            value_source=f"{agent.url.replace('http:', 'consul:')}/mesh",
        )
        async with memory_mesh(SafeModule, settings=settings, caller="teller") as mesh:
            safe = await mesh.get_service(Safe)
            await becomes(safe, denied)
            await asyncio.sleep(0.12)  # beyond the gap between two queries
            await client.write(KEY, written("teller"))
            record_property("change_seconds", await becomes(safe, "gold"))
            await client.write(KEY, b'[{"name": "bank"}]')
            async with asyncio.timeout(10):
                while "authorization.rules[0]: methods is missing" not in caplog.text:
                    await asyncio.sleep(0.005)
            assert await safe.open() == "gold"
            assert mesh.servers[0].mesh.runtime.recorder.served.rules_refused == 1
            await client.write(KEY, written("teller", "deny"))
            await becomes(safe, denied)
