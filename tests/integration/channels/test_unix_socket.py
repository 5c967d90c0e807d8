"""A unix socket beside the port: clients that see that very socket use it, all others take the port."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import aiohttp
import pytest

from meshcore import Channel, Invocation, advice, around, methods
from meshcore.stream.unix_socket import announced_socket, path_here
from tests.integration.cli.shell import Shell, end
from tests.support.depot import Depot
from tests.support.depot_calls import MODULE, STREAMED, Calling, calling, until
from tests.support.processes import serve

pytestmark = pytest.mark.one_python


@pytest.fixture
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short path: that of a unix socket has 107 bytes at most."""
    return tmp_path_factory.mktemp("s")


def remark(client: Calling) -> str:
    """What `why` says of the only instance."""
    (state,) = client.mesh.why(Depot, "echo").instances
    return state.remark


async def test_hypercorn_with_a_second_bind(tmp_path: Path, sockets: Path) -> None:
    """Its worker tells the mesh of the socket. Where that is gone, and in the next moment, calls take the port."""
    path = sockets / "depot.sock"
    registry = f"directory://{tmp_path}/registry"
    options = ("--workers", "1", "--bind", f"unix:{path}")
    async with serve(tmp_path, MODULE, *options) as server, calling(registry=registry) as client:
        facts = await client.depot.facts()
        assert facts.peer == "unknown"  # a unix socket has no address
        assert facts.headers["host"] == server.url.removeprefix("http://")
        assert client.channels == {STREAMED}
        assert remark(client) == f"over the unix socket {path}"
        rest = await client.mesh.get_service(Depot, "dispatch-msgpack")
        assert (await rest.facts()).peer == "127.0.0.1"

        path.unlink()  # as a clean-up of /tmp does
        async with calling(registry=registry) as other:
            assert (await other.depot.facts()).peer == "127.0.0.1"
            assert (other.channels, remark(other)) == ({STREAMED}, "")
        assert await client.depot.echo("still") == "still"  # the open connection needs no file


@advice
class Token:
    @around(methods().named("make_session").of_type(Channel))
    def make_session(self, invocation: Invocation) -> object:
        return invocation.proceed(**{**invocation.kwargs, "headers": {"x-token": "secret"}})


@advice
class OwnConnector:
    @around(methods().named("make_session").of_type(Channel))
    def make_session(self, invocation: Invocation) -> object:
        return invocation.proceed(**{**invocation.kwargs, "connector": aiohttp.TCPConnector()})


async def test_meshcore_run(tmp_path: Path, sockets: Path) -> None:
    """It binds the socket of the settings, in place of one that a killed server has left, and removes it at the end."""
    path, meshcore = sockets / "run.sock", Shell(tmp_path)
    meshcore.environ["MESHCORE_UNIX_SOCKET"] = str(path)
    registry = meshcore.environ["MESHCORE_REGISTRY"]
    async with meshcore.running(MODULE) as (process, url):
        async with calling(registry=registry) as client, calling(registry=registry, provides=[Token]) as trusted:
            assert (await client.depot.facts()).peer == "unknown"
            assert (await trusted.depot.facts()).headers["x-token"] == "secret"
            assert remark(trusted) == f"over the unix socket {path}"
        async with calling(registry=registry, provides=[OwnConnector]) as client:
            assert (await client.depot.facts()).peer == "127.0.0.1"  # that one was asked for
        status, _, err = await meshcore("run", MODULE, "--bind", "127.0.0.1:0")
        assert (status != 0, "cannot listen at the unix socket" in err, "in use" in err) == (True, True, True)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert path.is_socket()
    assert path_here(announced_socket(str(path)))
    async with meshcore.running(MODULE, "--workers", "2") as (process, url):
        async with calling(registry=registry) as client:
            held = {(await client.depot.facts()).peer for _ in range(5)}
            assert held == {"unknown"}
        assert (await end(process, signal.SIGTERM))[0] == 0
    assert not path.exists()
    assert url


async def test_calls_go_on_when_their_server_is_killed(tmp_path: Path, sockets: Path) -> None:
    """Another instance takes them, which has a socket of its own."""
    registry = f"directory://{tmp_path}/registry"
    first, second = ("--workers", "1", "--bind", f"unix:{sockets}/1"), ("--bind", f"unix:{sockets}/2")
    async with serve(tmp_path, MODULE, *first) as one, serve(tmp_path, MODULE, *second) as other:
        assert other.url  # a process without workers, which does not know its socket
        async with calling(registry=registry) as client:

            async def both() -> bool:
                return len(client.mesh.runtime.destinations.by_component["depot-component"].instances) == 2

            pids: dict[str, int] = {}

            async def each_was_called() -> bool:
                facts = await client.depot.facts()
                pids[facts.peer] = facts.pid
                return len(pids) > 1

            await client.depot.echo("first")
            await until(both, "two instances")
            # How many calls each gets is the matter of the balancer, and of how busy this machine is.
            await until(each_was_called, "calls of both")
            assert pids.keys() == {"unknown", "127.0.0.1"}
            assert pids["127.0.0.1"] == other.process.pid
            os.kill(pids["unknown"], signal.SIGKILL)
            assert {(await client.depot.facts()).peer for _ in range(40)} == {"127.0.0.1"}
        one.send(signal.SIGKILL)
