"""Code of a user that ends its process or raises what is no `Exception`: its call fails, and the server goes on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from meshcore import Call, Code, Handler, Interceptors, Mesh, MeshError, Settings, create, module
from tests.integration.serve.exiting import WAYS, Exiting, ExitingComponent, InSession
from tests.support.processes import ServerProcess, serve

MODULE = "tests.integration.serve.exiting:ExitingModule"
CHANNELS = ("dispatch-json", "dispatch-msgpack", "rest")

Act = Callable[[Exiting, str], Awaitable[Any]]

PLACES: dict[str, tuple[Act, int]] = {
    "implementation": (lambda proxy, how: proxy.here(how), 1),
    "thread": (lambda proxy, how: asyncio.to_thread(proxy.in_thread, how), 1),
    "task": (lambda proxy, how: proxy.in_task(how), 1),
    "task with a timeout": (lambda proxy, how: proxy.in_task_with_timeout(how), 1),
    "task in the background": (lambda proxy, how: proxy.in_background(how), 1),
    "interceptor": (lambda proxy, how: proxy.in_interceptor(how), 0),
    "advice": (lambda proxy, how: proxy.in_advice(how), 0),
    "local call of a thread": (lambda proxy, how: asyncio.to_thread(proxy.in_local_call, how), 1),
    "call with a key": (lambda proxy, how: proxy.keyed(how), 1),
    "result": (lambda proxy, how: proxy.in_model({"how": how}), 1),
}
"""What is called, and how often that executes an implementation."""


@module(components=[ExitingComponent])
class Client:
    @create()
    def interceptors(self) -> Interceptors:
        return Interceptors(client=[told_how])


async def told_how(handler: Handler, call: Call) -> Any:
    """Tell the session of the call how to end."""
    if call.method.name in {"at_begin", "at_end"}:
        call = msgspec.structs.replace(call, headers={"x-how": call.arguments[0]})
    return await handler(call)


def client(folder: Path) -> Mesh:
    """A mesh that calls the server."""
    return Mesh(Client, settings=Settings(registry=f"directory://{folder}/registry", timeout=30.0))


async def failure(call: Awaitable[Any]) -> MeshError:
    """What the call raised."""
    with pytest.raises(MeshError) as caught:
        await call
    return caught.value


def assert_hidden(error: MeshError, server: ServerProcess) -> None:
    """The caller has an id and no more; the log has the same."""
    assert (error.code, len(error.attempts), list(error.details)) == (Code.INTERNAL, 1, ["call"])
    assert f"call {error.details['call']} of" in server.output()


@pytest.mark.parametrize("channel", CHANNELS)
async def test_whatever_is_raised_the_server_goes_on(tmp_path: Path, channel: str) -> None:
    """The call is executed once and INTERNAL, its reason is in the log, and SIGTERM ends the server in order."""
    async with serve(tmp_path, MODULE) as server:
        async with client(tmp_path) as mesh:
            await mesh.wait_for(Exiting, 20)
            exiting = await mesh.get_service(Exiting, channel)
            session = await mesh.get_service(InSession, channel)
            for act, executions in PLACES.values():
                for how in WAYS:
                    before = await exiting.executed()
                    assert_hidden(await failure(act(exiting, how)), server)
                    assert await exiting.executed() == before + executions
            for how in WAYS:
                assert_hidden(await failure(session.at_begin(how)), server)
                assert_hidden(await failure(session.at_end(how)), server)
            assert await exiting.executed() > 0
        assert await server.stop() == 0
        assert "PanicError: panic" in server.output()
        assert "shutdown of component 'exiting' failed" in server.output()


@pytest.mark.parametrize("how", WAYS)
async def test_an_argument_whose_own_code_ends_the_process(tmp_path: Path, how: str) -> None:
    """It runs before the implementation does."""
    async with serve(tmp_path, MODULE) as server, aiohttp.ClientSession() as session:
        async with session.post(f"{server.url}/exiting/argument", json={"how": how}) as response:
            assert (response.status, (await response.json())["code"]) == (500, "internal")
        async with session.post(f"{server.url}/exiting/executed") as response:
            assert await response.json() == 0


async def test_a_health_check_that_ends_the_process(tmp_path: Path) -> None:
    """It is an error like another, and the other checks count; Ctrl-C still ends the server."""
    async with serve(tmp_path, MODULE) as server, aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.get(f"{server.url}/exiting-health") as response:
                assert response.status == 500
                found = {each["name"]: each["status"] for each in (await response.json())["checks"]}
                assert found == {"in_loop": "error", "in_thread": "error", "in_task": "error"}
        assert await server.stop(signal.SIGINT) == 0
