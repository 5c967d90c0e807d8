"""aspyx-service, from its package and in an environment of its own, and meshcore call each other."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from meshcore import Code, Mesh, RemoteError, load_settings
from tests.aspyx.environment import aspyx_python
from tests.support.interop import Address, AsyncInterop, Item, Person, SyncInterop, Tag
from tests.support.interop_client import InteropClient
from tests.support.processes import ROOT, free_port, serve

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]  # the first to run makes the environment

TAGS = [Tag("x", 0.25)]
ITEM = Item("täble ☃", 3, 12.5, active=True, labels=["a", ""], main=Tag("m", 1.0), tags=TAGS, note=None, spare=None)
PERSON = Person(
    name="Zoë",
    age=41,
    score=0.5,
    active=True,
    emails=["zoe@example.org"],
    address=Address(street="Main St", number=7),
    others=[Address(street="Side St", number=8)],
    nickname=None,
)


async def test_its_client_calls_our_server(tmp_path: Path) -> None:
    """Every call of aspyx's client, sync and async, over every channel, has the outcome that the contract promises."""
    python = await asyncio.to_thread(aspyx_python, ROOT / ".cache")
    async with serve(tmp_path, "tests.support.interop:InteropModule") as server:
        client = await asyncio.create_subprocess_exec(
            *(python, ROOT / "tests/aspyx/client.py", server.url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(client.communicate(), 60)
        assert client.returncode == 0, errors.decode()
        calls = [json.loads(line) for line in output.splitlines()]
        assert [call for call in calls if not call["passed"]] == []
        assert len(calls) == 52


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "rest"])
async def test_our_client_calls_its_server(tmp_path: Path, channel: str) -> None:
    """Our client calls its server, sync and async, with dataclasses and pydantic models; errors arrive as text."""
    python = await asyncio.to_thread(aspyx_python, ROOT / ".cache")
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        *(python, ROOT / "tests/aspyx/server.py", str(port)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        assert (await asyncio.wait_for(server.stdout.readline(), 60)).strip() == b"ready"
        registry = f"static:interop-component={channel}(http://127.0.0.1:{port})"
        settings = load_settings({"registry": registry}, environ={}, directory=tmp_path)
        async with Mesh(InteropClient, settings=settings) as mesh:
            service = await mesh.get_service(AsyncInterop, channel)
            assert await service.hello("wörld") == "hello wörld"
            assert await service.echo_item(ITEM) == ITEM
            assert await service.echo_person(PERSON) == PERSON
            assert await service.add(a=2, b=-3) == -1
            with pytest.raises(RemoteError) as failed:
                await service.fail("because")
            if channel == "rest":  # its server sends no reason there
                assert failed.value.code is Code.UNKNOWN
            else:
                assert failed.value.message == "because"
            blocking = await mesh.get_service(SyncInterop, channel)
            assert await asyncio.to_thread(blocking.hello, "sync") == "hello sync"
            assert await asyncio.to_thread(blocking.echo_item, ITEM) == ITEM
            assert await asyncio.to_thread(blocking.echo_person, PERSON) == PERSON
            assert await asyncio.to_thread(blocking.add, 1, 2) == 3
    finally:
        server.terminate()
        await server.communicate()
