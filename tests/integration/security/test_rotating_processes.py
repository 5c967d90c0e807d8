"""Files of certificates and roots are replaced under a server and a client, each a process: no call fails."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import uvloop
from cryptography import x509

from meshcore.wire.endpoints import STREAM_PROTOCOL
from tests.support.certificates import Authority, Leaf
from tests.support.processes import QUICK_START, ROOT, free_port, serve
from tests.support.rotated_client import CHANNELS
from tests.support.tls_server import client_context, served_mesh
from tests.support.whoami import WhoModule

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

EVERYTHING = "TEST_ALL_ROTATIONS" in os.environ
"""Set it for 100 new certificates, 5 new roots and both event loops, which takes minutes."""

LEAFS, ROOTS = (100, 5) if EVERYTHING else (10, 1)
LOOPS = ["asyncio", "uvloop"] if EVERYTHING else ["uvloop"]
TAKEN_OVER = 20.0  # seconds for a busy machine
LOOK = 1.5  # seconds within which files are looked at again


class Rotated:
    """The folders of a server and of its client, and connections that show what the server has.

    Args:
        folder: for them.
        port: of the server.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.authority = Authority.make("root 0")
        self.roots = self.authority.roots
        self._contexts = 0

    def write(self) -> int:
        """Write new certificates for both, and return the number of the server's."""
        made = {name: self.authority.leaf(name) for name in ("billing", "who-component")}
        for name, leaf in made.items():
            Leaf(leaf.chain, leaf.key, self.roots).write(self.folder / name)
        return x509.load_pem_x509_certificate(made["who-component"].chain).serial_number

    def context(self, authority: Authority):
        """Of another client, which trusts all roots and has a certificate of this authority."""
        self._contexts += 1
        trusting = replace(authority, roots=self.roots)
        return client_context(trusting, self.folder / f"context-{self._contexts}", "billing")

    async def until_served(self, number: int) -> None:
        """Return when new connections get the certificate with that number."""
        context = self.context(self.authority)
        async with asyncio.timeout(TAKEN_OVER):
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
                shown = int(writer.get_extra_info("peercert")["serialNumber"], 16)
                writer.close()
                if shown == number:
                    return
                await asyncio.sleep(0.02)

    async def replace_root(self, name: str) -> float:
        """Trust a new root as well, take certificates of it, then trust the old one no more.

        Returns:
            Seconds until a connection was cut off whose client has a certificate of the old root.
        """
        old, new = self.authority, Authority.make(name)
        self.roots = old.roots + new.roots
        await self.until_served(self.write())
        await asyncio.sleep(LOOK)  # so that the client has seen both, too: nobody tells
        async with aiohttp.ClientSession() as session:
            url, context = f"https://127.0.0.1:{self.port}/stream", self.context(old)
            peer = await session.ws_connect(url, protocols=[STREAM_PROTOCOL], ssl=context)
            self.authority = new
            await self.until_served(self.write())
            await asyncio.sleep(LOOK)
            assert not peer.closed
            self.roots = new.roots
            self.write()  # the roots of the server are its last file
            begun = time.monotonic()
            async with asyncio.timeout(TAKEN_OVER):
                while (await peer.receive()).type is aiohttp.WSMsgType.BINARY:
                    pass
            return time.monotonic() - begun


@pytest.mark.parametrize("loop", LOOPS)
async def test_no_call_fails_while_files_are_replaced(tmp_path, loop):
    """New certificates and roots under 32 callers fail no call; peers of an old root are cut off within a second."""
    rotated = Rotated(tmp_path, free_port())
    rotated.write()
    server_env = {
        "MESHCORE_IDENTITY": f"files:{tmp_path}/who-component",
        "MESHCORE_REGISTRY": f"directory:{tmp_path}/r",
    }
    options = ("--worker-class", loop, "--config", "python:meshcore.serve.tls.hypercorn")
    url = f"https://127.0.0.1:{rotated.port}"
    async with AsyncExitStack() as stack:
        starting = serve(
            tmp_path, "tests.support.whoami:WhoModule", *options, env=server_env, port=rotated.port, advertise=url
        )
        server = await stack.enter_async_context(starting)
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.rotated_client", loop),
            env={
                **os.environ,
                **QUICK_START,
                "PYTHONPATH": str(ROOT),
                "MESHCORE_REGISTRY": f"static:who-component={','.join(f'{each}({url})' for each in CHANNELS)}",
                "MESHCORE_IDENTITY": f"files:{tmp_path}/billing",
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            assert await client.stdout.readline() == b"calling\n"
            cuts = []
            for number in range(1, LEAFS + 1):
                await rotated.until_served(rotated.write())
                if number % (LEAFS // ROOTS) == 0:
                    cuts.append(await rotated.replace_root(f"root {number}"))
            client.stdin.close()
            told = json.loads(await client.stdout.read())
        finally:
            if client.returncode is None:
                client.kill()
            await client.wait()
        output = server.output()
    print(f"{loop}: {told['calls']}, cut off after {[round(each, 2) for each in cuts]} s")  # noqa: T201 - with -s
    assert told["failures"] == {}, output[-2000:]
    assert min(told["calls"][channel] for channel in CHANNELS) > 100
    assert sorted(cuts)[len(cuts) // 2] < (1.0 if EVERYTHING else 3.0)  # of one, on a machine that is busy
    assert "Traceback" not in output, output[-3000:]


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_looks_that_are_due_at_once(factory):
    """A second look is planned while one is due at once: the handle of uvloop then says no time."""

    async def plan() -> None:
        async with served_mesh(WhoModule, Authority.make().credentials("who-component")) as server:
            assert server.app.tls is not None
            for at in (0.0, 0.0, time.time() + 60.0):
                server.app.tls._plan(at)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(plan())
