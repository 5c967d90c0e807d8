"""A client that is cut off from Consul by the network itself: the agent lives in a network namespace of its own.

It runs as a program in new namespaces, so nothing of the machine is touched, and all ends with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from meshcore.testing import consul_agent
from meshcore.testing.consul.binary import find_consul
from tests.integration.consul.cluster_scene import client_cut_off
from tests.integration.consul.scene import CACHE
from tests.support.processes import ROOT

_TOOLS = ("ip", "nsenter", "unshare")
_UNSHARE = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_TIMES = "times.json"
_OUTER, _INNER = "02:00:00:00:00:01", "02:00:00:00:00:02"


def command() -> tuple[str, ...] | None:
    """What puts a process into a new network namespace; None if this machine, or this user, cannot."""
    if not all(map(shutil.which, _TOOLS)):
        return None
    for starter in (_UNSHARE, (*_UNSHARE, "--user", "--map-root-user")):
        # A pair of interfaces is more than some containers allow.
        tried = [*starter, "ip", "link", "add", "here", "type", "veth", "peer", "name", "there"]
        if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
            return starter
    return None


async def run(starter: tuple[str, ...], folder: Path) -> dict[str, float]:
    """Play the scene in namespaces; what it says about its times."""
    program = await asyncio.to_thread(find_consul, CACHE)  # in there is no network to fetch it by
    process = await asyncio.create_subprocess_exec(
        *(*starter, sys.executable, "-m", "tests.integration.consul.namespaces", program, folder),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()  # and all that is in its namespaces
            await process.wait()
    assert process.returncode == 0, said.decode()
    times: dict[str, float] = json.loads((folder / _TIMES).read_bytes())
    return times


class _Links:
    """Two links between the namespaces: the servers' stays, the client's can be cut.

    Who is at the other end is written down for ever: else the kernel would find out that nobody answers there, and say
    so, where a network far away says nothing.
    """

    def __init__(self, holder: int) -> None:
        self._inside = ("nsenter", f"--net=/proc/{holder}/ns/net")
        _ip("link", "set", "lo", "up")
        _ip("link", "set", "lo", "up", inside=self._inside)
        for number in (1, 2):
            here, there = f"here{number}", f"there{number}"
            ends = ("address", _OUTER, "type", "veth", "peer", "name", there, "address", _INNER, "netns", str(holder))
            _ip("link", "add", here, *ends)
            self._end(here, f"10.0.{number}.1", f"10.0.{number}.2", _INNER, ())
            self._end(there, f"10.0.{number}.2", f"10.0.{number}.1", _OUTER, self._inside)

    def cut(self) -> None:
        _ip("link", "set", "there2", "down", inside=self._inside)

    def heal(self) -> None:
        _ip("link", "set", "there2", "up", inside=self._inside)
        _ip("neigh", "replace", "10.0.2.1", "lladdr", _OUTER, "dev", "there2", "nud", "permanent", inside=self._inside)

    def _end(self, name: str, address: str, other: str, mac: str, inside: tuple[str, ...]) -> None:
        _ip("addr", "add", f"{address}/24", "dev", name, inside=inside)
        _ip("link", "set", name, "up", inside=inside)
        _ip("neigh", "replace", other, "lladdr", mac, "dev", name, "nud", "permanent", inside=inside)


class _ClientsWay:
    """The client's way to the agent, the other one is the servers'."""

    def __init__(self, links: _Links, url: str) -> None:
        self.url = url
        self.cut, self.heal = links.cut, links.heal


def _ip(*words: str, inside: tuple[str, ...] = ()) -> None:
    subprocess.run([*inside, "ip", *words], check=True)


def _network_of(process: int) -> Path:
    return Path(f"/proc/{process}/ns/net").readlink()


@asynccontextmanager
async def _namespace() -> AsyncIterator[int]:
    """A process that keeps a network namespace."""
    process = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "infinity")
    try:
        async with asyncio.timeout(5):
            while _network_of(process.pid) == _network_of(os.getpid()):
                await asyncio.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        await process.wait()


async def _main(program: Path, folder: Path) -> None:
    async with _namespace() as holder:
        links = _Links(holder)
        # The kit starts what it finds on the PATH.
        wrapper = folder / "bin" / "consul"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nexec nsenter --net=/proc/{holder}/ns/net "{program}" "$@"\n')
        wrapper.chmod(0o755)
        os.environ["PATH"] = f"{wrapper.parent}:{os.environ['PATH']}"
        async with consul_agent(address="10.0.1.2", config={"client_addr": "0.0.0.0"}) as agent:
            way = _ClientsWay(links, agent.url.replace("10.0.1.2", "10.0.2.2"))
            (folder / _TIMES).write_text(json.dumps(await client_cut_off(folder, agent, way)))


if __name__ == "__main__":
    asyncio.run(_main(*map(Path, sys.argv[1:])))
