"""Calls to real hypercorn processes that serve meshcore.app:app."""

from __future__ import annotations

import asyncio
import io
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from meshcore import Code, CommunicationError, Mesh, MeshError, Policy, RemoteError, load_settings, with_policy
from tests.support.client import ProbeClient
from tests.support.probe import Blocking, Probe, Refused
from tests.support.processes import ServerProcess, free_port, serve

MODULE = "tests.support.probe:ProbeModule"
CHANNELS = ["dispatch-json", "dispatch-msgpack", "rest"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """One server for the tests that leave it as it was."""
    async with serve(tmp_path_factory.mktemp("shared"), MODULE) as server:
        yield server


def client(folder: Path, **arguments: object) -> Mesh:
    """A mesh that finds the servers of the same folder."""
    settings = load_settings({"registry": f"directory://{folder}/registry", **arguments}, environ={}, directory=folder)
    return Mesh(ProbeClient, settings=settings)


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_call_reaches_another_process(shared: ServerProcess, channel: str) -> None:
    """A proxy from `get_service` calls an implementation in another process over every channel."""
    async with client(shared.log.parent) as mesh:
        probe = await mesh.get_service(Probe, channel)
        assert await probe.pid() == shared.process.pid
        assert await probe.echo("grüß dich") == "grüß dich"


async def test_errors_arrive_as_what_they_are(shared: ServerProcess) -> None:
    """A declared exception keeps its class and fields, a mesh error its code, and a crash keeps its secret."""
    async with client(shared.log.parent) as mesh:
        for channel in ("dispatch-json", "dispatch-msgpack"):
            probe = await mesh.get_service(Probe, channel)
            with pytest.raises(Refused) as refused:
                await probe.refuse("no stock")
            assert refused.value == Refused("no stock", 3)
            with pytest.raises(RemoteError) as missing:
                await probe.not_found()
            assert (missing.value.code, missing.value.details) == (Code.NOT_FOUND, {"id": 7})
            with pytest.raises(RemoteError) as crashed:
                await probe.crash()
            assert crashed.value.code is Code.INTERNAL
            assert "secret" not in str(crashed.value)
            id_ = crashed.value.details["call"]
            assert f"call {id_} of probe.crash failed" in shared.output()
            assert "the secret of the server" in shared.output()
            with pytest.raises(RemoteError) as wrong:
                await probe.wrong_type()
            assert wrong.value.code is Code.INTERNAL
            assert "expected int, got str" in shared.output()


async def test_debug_sends_the_traceback(tmp_path: Path) -> None:
    """With the setting debug, a caller gets the server's traceback in the error's details."""
    async with serve(tmp_path, MODULE, env={"MESHCORE_DEBUG": "true"}), client(tmp_path) as mesh:
        probe = await mesh.get_service(Probe)
        with pytest.raises(RemoteError) as crashed:
            await probe.crash()
        assert "the secret of the server" in crashed.value.details["traceback"]


@pytest.mark.parametrize("channel", CHANNELS)
async def test_leaving_cancels_the_work(shared: ServerProcess, channel: str) -> None:
    """When the caller is cancelled, the server's work is cancelled too."""
    async with client(shared.log.parent) as mesh:
        probe = await mesh.get_service(Probe, channel)
        other = await mesh.get_service(Probe, "dispatch-json")
        before = await other.cancelled()
        task = asyncio.create_task(probe.sleep(30))
        while (await active(mesh)) == 0:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(3):
            while await other.cancelled() == before:
                await asyncio.sleep(0.01)


async def active(mesh: Mesh) -> int:
    """How many calls the only server runs."""
    (instances,) = (await mesh.runtime.registry.instances()).values()
    async with aiohttp.ClientSession() as session, session.get(f"{instances[0].addresses[0].url}/report") as response:
        count: int = (await response.json())["active"]
        return count


async def test_the_deadline_ends_a_call(shared: ServerProcess) -> None:
    """A call ends with DEADLINE_EXCEEDED when its time is up, and the server knows how long its caller waits."""
    async with client(shared.log.parent, timeout=5.0) as mesh:
        probe = await mesh.get_service(Probe)
        assert 1 < await probe.remaining() <= 5
        begun = asyncio.get_running_loop().time()
        with pytest.raises(CommunicationError) as late:
            await with_policy(probe, Policy(timeout=0.5)).sleep(30)
        assert late.value.code is Code.DEADLINE_EXCEEDED
        assert asyncio.get_running_loop().time() - begun < 5


async def test_a_blocking_implementation_leaves_the_loop_free(shared: ServerProcess) -> None:
    """While a `def` implementation blocks its thread, other calls are answered."""
    async with client(shared.log.parent) as mesh:
        blocking = await mesh.get_service(Blocking)
        probe = await mesh.get_service(Probe)
        slow = asyncio.create_task(asyncio.to_thread(blocking.work, 5.0))
        for _ in range(20):
            assert await probe.pid() == shared.process.pid
        assert not slow.done()
        assert await slow == shared.process.pid


async def test_more_calls_than_allowed_are_refused_unprocessed(tmp_path: Path) -> None:
    """A server over its concurrency limit refuses, and says that it processed nothing."""
    async with (
        serve(tmp_path, MODULE, env={"MESHCORE_MAX_CONCURRENCY": "1"}),
        client(tmp_path, resilience=False) as mesh,
    ):
        probe = await mesh.get_service(Probe)
        slow = asyncio.create_task(probe.sleep(30))
        while (await active(mesh)) == 0:
            await asyncio.sleep(0.01)
        with pytest.raises(RemoteError) as refused:
            await probe.pid()
        assert (refused.value.code, refused.value.processed) == (Code.RESOURCE_EXHAUSTED, False)
        slow.cancel()


async def test_a_refused_call_goes_to_another_instance(tmp_path: Path) -> None:
    """With one instance full and one free, every call ends on the free one."""
    full = {"MESHCORE_MAX_CONCURRENCY": "1"}
    async with serve(tmp_path, MODULE, env=full), serve(tmp_path, MODULE, env=full), client(tmp_path) as mesh:
        probe = await mesh.get_service(Probe)
        slow = asyncio.create_task(with_policy(probe, Policy(attempts=1)).sleep(30))  # never hedged
        while len({await probe.pid() for _ in range(8)}) == 2:
            await asyncio.sleep(0.01)
        assert len({await probe.pid() for _ in range(8)}) == 1
        slow.cancel()


@asynccontextmanager
async def calling(probe: Probe, *, callers: int, calls: int) -> AsyncIterator[None]:
    """Calls go on, so many before the block and so many after it; one that fails fails the test."""
    stop = asyncio.Event()
    done = 0

    async def call() -> None:
        nonlocal done
        while not stop.is_set():
            await probe.sleep(0.001)
            done += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
        while done < calls:
            await asyncio.sleep(0.01)
        yield
        goal = done + calls
        while done < goal:
            await asyncio.sleep(0.01)
        stop.set()


async def test_killing_an_instance_fails_no_idempotent_call(tmp_path: Path) -> None:
    """SIGKILL of one of two instances while idempotent calls go on: none fails."""
    async with serve(tmp_path, MODULE) as first, serve(tmp_path, MODULE) as second, client(tmp_path) as mesh:
        probe = await mesh.get_service(Probe, "dispatch-msgpack")
        async with calling(probe, callers=16, calls=500):
            first.process.kill()
        assert await probe.pid() == second.process.pid


async def test_stopping_an_instance_fails_no_idempotent_call(tmp_path: Path) -> None:
    """SIGTERM of one of two instances of plain hypercorn while idempotent calls go on: none fails."""
    async with serve(tmp_path, MODULE) as first, serve(tmp_path, MODULE), client(tmp_path) as mesh:
        probe = await mesh.get_service(Probe)
        async with calling(probe, callers=8, calls=100):
            assert await first.stop() == 0


async def test_an_idle_connection_costs_no_call(tmp_path: Path) -> None:
    """A call after the server's keep-alive has passed, and calls beyond keep_alive_max_requests, do not fail."""
    config = tmp_path / "hypercorn.toml"
    config.write_text("keep_alive_max_requests = 7\n")
    async with (
        serve(tmp_path, MODULE, "--config", str(config), "--keep-alive", "5") as server,
        client(tmp_path) as mesh,
    ):
        probe = await mesh.get_service(Probe)
        for _ in range(50):
            assert await probe.write(0) == server.process.pid
        await asyncio.gather(*(probe.write(0) for _ in range(200)))


async def test_two_workers_and_uvloop(tmp_path: Path) -> None:
    """`--workers 2` with uvloop serves from two processes behind one address, and both are announced."""
    async with (
        serve(tmp_path, MODULE, "--workers", "2", "--worker-class", "uvloop") as server,
        client(tmp_path) as mesh,
    ):
        async with asyncio.timeout(10):
            while len((await mesh.runtime.registry.instances()).get("probe", ())) < 2:
                await asyncio.sleep(0.05)
        probe = await mesh.get_service(Probe)
        pids = {await probe.pid() for _ in range(5)}
        assert server.process.pid not in pids
        assert await server.stop() == 0
        assert await mesh.runtime.registry.instances() == {}


async def test_a_worker_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """SIGKILL of hypercorn's parent process ends its worker too, which would otherwise serve on unsupervised."""
    async with serve(tmp_path, MODULE, "--workers", "1") as server, client(tmp_path) as mesh:
        probe = await mesh.get_service(Probe)
        assert await probe.pid() != server.process.pid
        server.process.kill()
        async with asyncio.timeout(10):
            while await mesh.runtime.registry.instances():
                await asyncio.sleep(0.02)


async def test_an_address_that_leads_nowhere_is_said_and_not_announced(tmp_path: Path) -> None:
    """If the advertised port is not the bound one, the log says so and names the setting; nothing is announced."""
    wrong = f"http://127.0.0.1:{free_port()}"
    async with serve(tmp_path, MODULE, advertise=wrong, wait=False) as server, client(tmp_path) as mesh:
        await server.until_logged("MESHCORE_ADVERTISE_URL")
        assert f"the advertised URL {wrong} cannot be reached" in server.output()
        assert await mesh.runtime.registry.instances() == {}


async def test_a_worker_advertises_what_hypercorn_has_bound(tmp_path: Path) -> None:
    """If nobody sets a URL, it is that of the socket and not a default with another port."""
    nobody = {"MESHCORE_ADVERTISE_URL": ""}
    async with serve(tmp_path, MODULE, "--workers", "1", env=nobody) as server, client(tmp_path) as mesh:
        ((instance,),) = (await mesh.runtime.registry.instances()).values()
        assert {address.url for address in instance.addresses} == {server.url}
        assert "leads clients on other machines" not in server.output()


async def test_a_worker_warns_of_a_url_that_others_cannot_reach(tmp_path: Path) -> None:
    """With a registry that other machines read."""
    unset = {"MESHCORE_ADVERTISE_URL": "", "MESHCORE_REGISTRY": "consul://127.0.0.1:9"}
    async with serve(tmp_path, MODULE, "--workers", "1", env=unset, wait=False) as server:
        await server.until_logged(
            f"the advertised URL {server.url} (what hypercorn has bound) leads clients on other machines to themselves"
        )


@pytest.mark.parametrize(
    ("options", "told"), [((), None), (("--keep-alive", "2"), "timeout=2"), (("--keep-alive", "60"), None)]
)
async def test_a_short_keep_alive_is_told(tmp_path: Path, options: tuple[str, ...], told: str | None) -> None:
    """Clients hear of it with each answer, so that they give up idle connections before the server closes them."""
    async with (
        serve(tmp_path, MODULE, "--workers", "1", *options) as server,
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}/livez") as response,
    ):
        assert response.headers.get("keep-alive") == told


async def test_an_address_of_another_process_is_said(tmp_path: Path) -> None:
    """If the advertised URL leads to another mesh, the log says so."""
    async with serve(tmp_path, MODULE) as first, serve(tmp_path, MODULE, advertise=first.url, wait=False) as second:
        await second.until_logged("leads to another process")


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("", "MESHCORE_MODULE=package.module:Class"),
        ("nowhere.at_all:Module", "no Python module 'nowhere'"),
        ("tests.support.probe:ProbeModul", "did you mean 'ProbeModule'?"),
        ("tests.support.probe:Probe", "is not decorated with @module"),
    ],
)
async def test_a_missing_or_broken_module_is_named(tmp_path: Path, module: str, expected: str) -> None:
    """The server does not start, and the text names what is wrong and the setting."""
    async with serve(tmp_path, module, wait=False) as server:
        assert await asyncio.wait_for(server.process.wait(), 20) != 0
        assert expected in server.output()


async def test_probes_and_report(shared: ServerProcess) -> None:
    """`/livez`, `/readyz`, the component's health path and `/report` answer in JSON."""
    async with aiohttp.ClientSession() as session:
        for path, status in (("/livez", 200), ("/readyz", 200), ("/probe-health", 429), ("/report", 200), ("/no", 404)):
            async with session.get(shared.url + path) as response:
                assert response.status == status, path
                body = await response.text()
                if path == "/probe-health":
                    assert json.loads(body)["checks"][0]["details"] == "nearly full"
                if path == "/report":
                    assert json.loads(body)["components"][0]["name"] == "probe"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "text"),
    [
        (b"{", "application/json", 400, "the body is no call"),
        (b"{}", "application/json", 400, "method"),
        (b'{"method":"probe:probe:pidd","args":[]}', "application/json", 501, "did you mean 'probe:probe:pid'?"),
        (b'{"method":"probe:probe:echo","args":[1]}', "application/json", 400, "$.args[0]: expected str, got int"),
        (b'{"method":"probe:probe:echo","args":[]}', "application/json", 400, "probe.echo"),
        (b'{"method":"probe:probe:pid","args":[]}', "text/plain", 400, "content type must be"),
        (b"\xc1", "application/msgpack", 400, "the body is no call"),
        (b'{"method":"probe:probe:echo","args":["' + b"x" * 5_000_000 + b'"]}', "application/json", 429, "larger than"),
    ],
)
async def test_bad_calls_are_named(
    shared: ServerProcess, body: bytes, content_type: str, status: int, text: str
) -> None:
    """What is wrong with a call is said, with a code; the process goes on."""
    async with aiohttp.ClientSession() as session:
        headers = {"content-type": content_type, "mesh-timeout-ms": "5000"}
        async with session.post(f"{shared.url}/invoke", data=io.BytesIO(body), headers=headers) as response:
            answer = (await response.read()).decode("utf-8", "replace")
            assert response.status == status, answer
            assert text in answer
        async with session.get(f"{shared.url}/livez") as response:
            assert response.status == 200


async def test_a_call_may_be_written_in_any_way(shared: ServerProcess) -> None:
    """As our clients write it, with spaces, in another order, with more keys, and in chunks."""
    bodies = [
        b'{"method":"probe:probe:echo","args":["x"]}',
        b' { "method" : "probe:probe:echo" , "args" : [ "x" ] } ',
        b'{"args":["x"],"method":"probe:probe:echo"}',
        b'{"method":"probe:probe:echo","args":["x"],"more":{"args":[1]}}',
        b'{"args":["x"],"more":{"method":"probe:probe:pid","args":["y"]},"method":"probe:probe:echo"}',
    ]
    packed = [
        msgspec.msgpack.encode({"method": "probe:probe:echo", "args": ["x"]}),
        msgspec.msgpack.encode({"args": ["x"], "method": "probe:probe:echo"}),
        msgspec.msgpack.encode({"method": "probe:probe:echo", "args": ["x"], "more": 1}),
    ]
    async with aiohttp.ClientSession() as session:
        for kind, decode, all_bodies in (
            ("json", msgspec.json.decode, bodies),
            ("msgpack", msgspec.msgpack.decode, packed),
        ):
            headers = {"content-type": f"application/{kind}", "mesh-timeout-ms": "5000"}
            for body in all_bodies:
                for data in (body, chunks(body)):
                    async with session.post(f"{shared.url}/invoke", data=data, headers=headers) as response:
                        answer = await response.read()
                        assert decode(answer) == {"result": "x", "exception": None}, (body, answer)


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    """Of three bytes, so that no length is sent."""
    for at in range(0, len(body), 3):
        yield body[at : at + 3]


async def test_nobody_there_is_said_at_once(tmp_path: Path) -> None:
    """Without any instance a call fails fast as UNAVAILABLE, naming component, registry and channel."""
    async with client(tmp_path) as mesh:
        probe = await mesh.get_service(Probe, "dispatch-json")
        with pytest.raises(MeshError) as nobody:
            await probe.pid()
        assert nobody.value.code is Code.UNAVAILABLE
        assert str(nobody.value) == (
            "unavailable: component 'probe' is offered by nobody over channel 'dispatch-json', "
            f"says DirectoryComponentRegistry('{tmp_path}/registry')"
        )


async def test_sigterm_is_clean(tmp_path: Path) -> None:
    """SIGTERM ends the server with status 0 and withdraws it."""
    async with serve(tmp_path, MODULE) as server, client(tmp_path) as mesh:
        assert list(await mesh.runtime.registry.instances()) == ["probe"]
        assert await server.stop(signal.SIGTERM) == 0
        assert await mesh.runtime.registry.instances() == {}
        assert "Traceback" not in server.output()
