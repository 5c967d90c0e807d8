"""Ways to make calls that fail, each of which raises what a caller gets."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import tempfile
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from starlette.requests import HTTPConnection

from meshcore import (
    BlockingMesh,
    ChannelAddress,
    Code,
    ComponentRegistry,
    Instance,
    Mesh,
    MeshApp,
    MeshError,
    Policy,
    RemoteError,
    Settings,
    client_module,
    current_call,
    injectable,
    load_settings,
    mesh_of,
    module,
    with_policy,
)
from meshcore.client.bridge import Bridge
from meshcore.registry import LocalComponentRegistry
from meshcore.serve.module_loader import load_module
from meshcore.testing import memory_mesh
from meshcore.testing.servers import answering
from tests.support.reference.desk import (
    Archive,
    ArchiveComponent,
    Clerk,
    ClerkImpl,
    Desk,
    DeskModule,
    Early,
    Session,
)
from tests.support.reference.sample import Answer, ask

HERMETIC: Final = Settings(registry="local:", adaptive_limit=False)
UNVERIFIED: Final = Settings(registry="local:", adaptive_limit=False, verify_advertise=False, drain=0.0)
_MASKS: Final = [
    (re.compile(r"call [0-9a-f]{16}"), "call <id>"),
    (re.compile(r"/[\w./-]*/registry"), "<folder>"),
    (re.compile(r"process \d+"), "process <pid>"),
]


def masked(text: str) -> str:
    """The text without what is different each time."""
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text


@asynccontextmanager
async def clerk_of(**values: Any) -> AsyncIterator[Clerk]:
    """A service of a mesh in memory."""
    settings = Settings(registry="local:", adaptive_limit=False, **values)
    async with memory_mesh(DeskModule, settings=settings) as mesh:
        yield await mesh.get_service(Clerk)


async def one_too_many(count: int, **values: Any) -> None:
    """Call so often at once; one call fails at once, and the others are given up."""
    async with clerk_of(**values) as clerk:
        tasks = [asyncio.create_task(clerk.wait(60.0)) for _ in range(count)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=20.0)
            for task in done:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def served(method: str, *, headers: dict[str, str] | None = None, times: int = 1, stop: bool = False) -> None:
    """Ask a server in this process, and raise the error of its last answer."""
    app = MeshApp(DeskModule, settings=UNVERIFIED)
    async with app.lifespan():
        sent = {"content-type": "application/json", "mesh-timeout-ms": "5000", **(headers or {})}
        arguments: list[object] = [60.0] if method == "wait" else []
        body = json.dumps({"method": f"desk:clerk:{method}", "args": arguments}).encode()
        if stop and method != "wait":
            await app.stop()
        asking = asyncio.create_task(repeated(app, sent, body, times))
        if stop and method == "wait":
            while not (await app.report())["active"]:
                await asyncio.sleep(0)
            await app.stop()
        answer = await asking
    plain = json.loads(answer.body)["exception"]
    raise RemoteError(Code(plain["code"]), plain["message"])


async def repeated(app: MeshApp, headers: dict[str, str], body: bytes, times: int) -> Answer:
    """The answer to the last of some requests that are the same."""
    for _ in range(times - 1):
        await ask(app, "POST", "/invoke", headers, body)
    return await ask(app, "POST", "/invoke", headers, body)


async def overloaded() -> None:
    """Ask a server that admits nothing any more."""
    app = MeshApp(DeskModule, settings=Settings(registry="local:", verify_advertise=False))
    async with app.lifespan():
        server: Any = app._server
        server.limit.limit = 0
        headers = {"content-type": "application/json", "mesh-timeout-ms": "5000"}
        answer = await ask(app, "POST", "/invoke", headers, b"")
    plain = json.loads(answer.body)["exception"]
    raise RemoteError(Code(plain["code"]), plain["message"])


async def elsewhere(registry: str, channel: str = "") -> None:
    """Call a service of another process, wherever the registry says it is."""
    settings = Settings(registry=registry)
    async with Mesh(client_module(Desk), settings=settings) as mesh:
        await (await mesh.get_service(Clerk, channel)).wait(0.0)


async def as_another_path() -> None:
    """Call over REST with a value that makes the path that of another method."""
    settings = Settings(registry="static:archive=rest(http://127.0.0.1:9)")
    async with Mesh(client_module(ArchiveComponent), settings=settings) as mesh:
        await (await mesh.get_service(Archive)).year("latest")


async def in_the_way() -> None:
    """Call where the registry's folder is below a file."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").write_text("in the way")
        await elsewhere(f"directory://{folder}/file/registry")


async def open_to_others() -> None:
    """Call where others can write to the registry's folder."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "registry").mkdir()
        (Path(folder) / "registry").chmod(0o777)
        await elsewhere(f"directory://{folder}/registry")


async def at_no_url() -> None:
    """Call an instance that was announced with a URL that is none."""
    registry = LocalComponentRegistry()
    instance = Instance("bad", "desk", (ChannelAddress("dispatch-json", "h1:8000"),))
    async with (
        Mesh(client_module(Desk), settings=HERMETIC, overrides={ComponentRegistry: registry}) as mesh,
        registry.announce(instance),
    ):
        clerk = await mesh.get_service(Clerk)
        await mesh.wait_for(Clerk)
        await clerk.wait(0.0)


async def answered(exception: dict[str, Any]) -> None:
    """Call a server that answers with this error."""
    body = json.dumps({"result": None, "exception": exception})
    answer = f"HTTP/1.1 400 Bad Request\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    async with answering([answer]) as url:
        await elsewhere(f"static:desk=dispatch-json({url})")


async def unentered() -> None:
    """Ask a mesh that does not run."""
    await Mesh(DeskModule, settings=HERMETIC).get_service(Clerk)


async def left() -> None:
    """Ask a mesh that has stopped."""
    async with Mesh(DeskModule, settings=HERMETIC) as mesh:
        pass
    await mesh.get_service(Clerk)


async def late() -> None:
    """Call when the mesh has stopped."""
    async with Mesh(DeskModule, settings=HERMETIC) as mesh:
        clerk = await mesh.get_service(Clerk)
    await clerk.wait(0.0)


async def forked() -> None:
    """Call, in a forked process, with the mesh of the other."""
    async with Mesh(DeskModule, settings=HERMETIC) as mesh:
        clerk = await mesh.get_service(Clerk)
        raise _raised_in_fork(lambda: clerk.wait(0.0).send(None))


def _raised_in_fork(act: Callable[[], object]) -> MeshError:
    reader, writer = os.pipe()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # this process has threads
        child = os.fork()
    if not child:
        try:
            act()
        except MeshError as error:
            os.write(writer, pickle.dumps(error))
        finally:
            os._exit(0)  # nothing of what the tests have begun may end here
    os.close(writer)
    with os.fdopen(reader, "rb") as raised:
        error: MeshError = pickle.load(raised)
    os.waitpid(child, 0)
    return error


async def on_another_loop() -> None:
    """Call on another loop than that of the mesh, which does not run."""
    home = asyncio.new_event_loop()

    def call() -> None:
        mesh = home.run_until_complete(Mesh(DeskModule, settings=HERMETIC).start())
        try:
            asyncio.run(home.run_until_complete(mesh.get_service(Clerk)).wait(0.0))  # type: ignore[arg-type]
        finally:
            home.run_until_complete(mesh.stop())

    try:
        await asyncio.to_thread(call)
    finally:
        home.close()


async def after_its_loop() -> None:
    """Ask a mesh whose loop has ended."""

    def call() -> None:
        mesh = asyncio.run(Mesh(DeskModule, settings=HERMETIC).start())
        asyncio.run(mesh.get_service(Clerk))

    await asyncio.to_thread(call)


async def without_loop() -> None:
    """Await a call where no loop runs."""
    async with Mesh(DeskModule, settings=HERMETIC) as mesh:
        waiting: Any = (await mesh.get_service(Clerk)).wait(0.0)
        await asyncio.to_thread(waiting.send, None)


async def on_a_blocked_loop() -> None:
    """Call in a thread for which the loop of the mesh waits."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        bridge = Bridge(loop, patience=0.01)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(bridge.block, "clerk.nest", main).result()

    await asyncio.to_thread(asyncio.run, main())


async def request_elsewhere() -> None:
    """Send a request on another loop than that of the lifespan."""
    app = MeshApp(DeskModule, settings=UNVERIFIED)
    async with app.running():
        await asyncio.to_thread(lambda: asyncio.run(ask(app, "GET", "/livez", {})))


async def twice() -> None:
    """Enter a mesh twice."""
    async with Mesh(DeskModule, settings=HERMETIC) as mesh, mesh:
        pass


async def building() -> None:
    """Start a mesh with an object that calls too early."""
    nowhere = {"__module__": "nowhere"}  # else they would belong to the module of that file
    early = injectable()(type("Early", (Early,), nowhere))
    early_module = module(imports=[DeskModule], provides=[early])(type("EarlyModule", (), nowhere))
    async with Mesh(early_module, settings=HERMETIC):
        pass


async def blocking_the_loop() -> None:
    """Call a `def` method on an event loop."""
    async with Mesh(DeskModule, settings=HERMETIC) as mesh:
        (await mesh.get_service(Clerk)).nest(0)


async def stuck() -> None:
    """Call a `def` implementation of a server whose only thread is held by a call that was given up."""
    release = threading.Event()

    class Held(ClerkImpl):
        def __init__(self) -> None:
            pass

        def nest(self, depth: int) -> int:
            release.wait(60)
            return depth

    settings = Settings(registry="local:", adaptive_limit=False, max_threads=1)
    try:
        async with memory_mesh(DeskModule, settings=settings, overrides={Clerk: Held}) as mesh:
            clerk = await mesh.get_service(Clerk)
            with suppress(MeshError):
                await asyncio.to_thread(with_policy(clerk, Policy(timeout=0.1)).nest, 1)
            await asyncio.to_thread(with_policy(clerk, Policy(timeout=2.0)).nest, 1)
    finally:
        release.set()


async def nested() -> None:
    """Call a `def` implementation that calls itself."""

    def deep() -> None:
        with BlockingMesh(DeskModule, settings=HERMETIC) as mesh:
            mesh.get_service(Clerk).nest(1)

    await asyncio.to_thread(deep)


async def outside() -> None:
    """Ask for the current call where there is none."""
    current_call()


async def without_mesh() -> None:
    """Ask an application without a lifespan for its mesh."""
    mesh_of(HTTPConnection({"type": "http"}))


async def without_lifespan() -> None:
    """Serve a request before the lifespan."""
    await ask(MeshApp(DeskModule, settings=HERMETIC), "GET", "/livez", {})


async def blocking_unentered() -> None:
    """Ask a blocking mesh that does not run."""
    BlockingMesh(DeskModule, settings=HERMETIC).get_service(Clerk)


async def policy_of_nothing() -> None:
    """Give a policy to what is no proxy."""
    with_policy(object(), Policy(timeout=1.0))


async def shared_policy() -> None:
    """Set for one call what is the component's."""
    async with Mesh(DeskModule, settings=HERMETIC) as mesh:
        with_policy(await mesh.get_service(Clerk), Policy(concurrency=1))


async def no_such_method() -> None:
    """Ask about a method that is none."""
    async with Mesh(DeskModule, settings=HERMETIC) as mesh:
        mesh.why(Clerk, "wiat")


async def no_such_object() -> None:
    """Ask the injector for what nobody provides."""
    async with Mesh(DeskModule, settings=HERMETIC) as mesh:
        await mesh.get(Answer)


async def of_a_request() -> None:
    """Ask for what lives in a request, outside of one."""
    async with Mesh(DeskModule, settings=HERMETIC) as mesh:
        await mesh.get(Session)


async def no_module() -> None:
    """Serve no module."""
    load_module(load_settings({}, environ={}, directory=Path("/nonexistent")))


async def no_class() -> None:
    """Serve what is no class."""
    load_module(Settings(module="json:dumps"))
