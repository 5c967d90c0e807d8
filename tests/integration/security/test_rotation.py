"""Certificates and roots are replaced while clients call: no call fails, and who is not trusted any more is cut off."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import aiohttp
import msgspec
import pytest

from meshcore import Mesh, Settings
from meshcore.wire.endpoints import STREAM_PROTOCOL
from tests.support.certificates import Authority
from tests.support.tls_server import client_context, served_mesh
from tests.support.whoami import OwnContext, Who, WhoClient, WhoModule

pytestmark = pytest.mark.one_python

CHANNELS = ("stream-msgpack", "dispatch-msgpack", "dispatch-json", "rest")
ROTATIONS = 20


async def test_no_call_fails_while_leafs_are_replaced(tmp_path, monkeypatch):
    """32 callers on four channels go on through many new certificates, and each channel takes new connections."""
    monkeypatch.setattr("meshcore.security.server_tls._SPREAD", 0.5)
    authority = Authority.make()
    OwnContext.context = client_context(authority, tmp_path, "billing")
    counted = dict.fromkeys(CHANNELS, 0)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(served_mesh(WhoModule, authority.credentials("who-component")))
        stop = asyncio.Event()

        async def call(who: Who, channel: str) -> None:
            while not stop.is_set():
                assert await who.calls() == "certificate billing spiffe://dev.mesh/svc/billing"
                counted[channel] += 1
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as callers:
            for channel in CHANNELS:
                settings = Settings(registry=f"static:who-component={channel}({server.url})")
                mesh = await stack.enter_async_context(Mesh(WhoClient, settings=settings))
                who = await mesh.get_service(Who, channel)
                for _ in range(8):
                    callers.create_task(call(who, channel))
            await asyncio.sleep(0.5)
            tls = server.app.tls
            assert tls is not None
            first = set(tls._open.values())
            for _ in range(ROTATIONS):
                await server.replace(authority.credentials("who-component"))
                await asyncio.sleep(0.15)
            async with asyncio.timeout(10):
                while any(each in first for each in tls._open.values()):
                    await asyncio.sleep(0.05)
            stop.set()
    assert min(counted.values()) > 0


async def test_the_peers_of_a_removed_root_are_cut_off(tmp_path):
    """Within a second, with or without requests under way; others go on, and new connections are refused."""
    old, new = Authority.make("old root"), Authority.make("new root")
    both = old.roots + new.roots
    credentials = new.credentials("who-component")
    with_both = msgspec.structs.replace(credentials, roots=both)
    async with served_mesh(WhoModule, with_both) as server, AsyncExitStack() as stack:
        sockets = {}
        for name, authority in (("old", old), ("new", new)):
            context = client_context(authority, tmp_path / name, "billing")
            context.load_verify_locations(cadata=both.decode())
            session = await stack.enter_async_context(aiohttp.ClientSession())
            sockets[name] = await session.ws_connect(f"{server.url}/stream", protocols=[STREAM_PROTOCOL], ssl=context)
            async with session.get(f"{server.url}/api/who", ssl=context) as response:
                assert response.status == 200
        await server.replace(credentials)
        begun = time.monotonic()
        async with asyncio.timeout(5):
            while (await sockets["old"].receive()).type is aiohttp.WSMsgType.BINARY:  # it is told to go away
                pass
        assert time.monotonic() - begun < 1.0
        assert not sockets["new"].closed
        async with aiohttp.ClientSession() as session:
            context = client_context(old, tmp_path / "again", "billing")
            context.load_verify_locations(cadata=both.decode())
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"{server.url}/api/who", ssl=context)
