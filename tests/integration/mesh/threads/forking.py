"""A program that forks while meshes run, as `multiprocessing`, Celery and gunicorn do. It prints what works."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from meshcore import BlockingMesh, Mesh, MeshError, Policy, load_settings, with_policy
from tests.integration.mesh.threads.doors import AsyncByAsync, SyncByAsync
from tests.integration.mesh.threads.doors_client import DoorsClient

SETTINGS = load_settings({"registry": sys.argv[2]}, environ={}, directory=Path("/nonexistent"))


def say(line: str) -> None:
    """Print a line at once: what is in a buffer when a process forks is printed twice."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def tried(name: str, act: Callable[[], object]) -> None:
    """Print what comes of it, in the process that does it."""
    try:
        result = act()
    except MeshError as error:
        result = f"{error.code.value} {error.message}"
    say(f"{name}: {result}")


def first_word(text: str) -> str:
    """Without the processes and threads, which differ."""
    return text.split(maxsplit=1)[0]


def fork() -> None:
    """A child uses what its parent has entered, leaves the blocks, makes a mesh of its own, and ends in order."""
    with BlockingMesh(DoorsClient, settings=SETTINGS) as mesh, BlockingMesh(DoorsClient, settings=SETTINGS) as other:
        mesh.wait_for(SyncByAsync, 20)
        ask = mesh.get_service(SyncByAsync)
        ask.ask("first")  # imports the channel: a child that is forked meanwhile can never import that module
        stop = threading.Event()

        def go_on() -> None:
            while not stop.is_set():
                ask.ask("again")

        asking = [threading.Thread(target=go_on) for _ in range(2)]
        for thread in asking:
            thread.start()
        child = os.fork()
        if not child:
            tried("proxy", lambda: ask.ask("x"))
            tried("other policy", lambda: with_policy(ask, Policy(timeout=1.0)).ask("x"))
            tried("get_service", lambda: other.get_service(SyncByAsync))
            tried("get", lambda: other.get(Mesh))
            with BlockingMesh(DoorsClient, settings=SETTINGS) as own:
                tried("own mesh", lambda: first_word(own.get_service(SyncByAsync).ask("own")))
            other.__exit__(None, None, None)
            say("left")
            sys.exit(3)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        stop.set()
        for thread in asking:
            thread.join()
        tried("parent", lambda: first_word(ask.ask("parent")))
    say(f"child: {status}")


async def fork_on_a_loop() -> None:
    """A child of multiprocessing uses the mesh of its parent's event loop."""
    async with Mesh(DoorsClient, settings=SETTINGS) as mesh:
        await mesh.wait_for(AsyncByAsync, 20)
        service, blocking = await mesh.get_service(AsyncByAsync), await mesh.get_service(SyncByAsync)

        def work() -> None:
            async def with_own() -> str:
                async with Mesh(DoorsClient, settings=SETTINGS) as own:
                    return first_word(await (await own.get_service(AsyncByAsync)).ask("own"))

            def run(coroutine: Coroutine[Any, Any, object]) -> Callable[[], object]:
                return lambda: asyncio.run(coroutine)

            tried("proxy", run(service.ask("x")))
            tried("def proxy", lambda: blocking.ask("x"))
            tried("get_service", run(mesh.get_service(AsyncByAsync)))
            tried("stop", run(mesh.stop()))
            tried("own mesh", run(with_own()))

        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        await asyncio.to_thread(child.join)
        say(f"parent: {first_word(await service.ask('parent'))}")
        say(f"child: {child.exitcode}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
    if sys.argv[1] == "loop":
        asyncio.run(fork_on_a_loop())
    else:
        fork()
