"""The mesh at work: two servers, a client that calls them over every channel, and a server that dies meanwhile.

This process is the client, and tells what happens as it happens. It ends by itself and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

from rich.console import Console

from meshcore.cli.demo.registry import DemoError, demo_registry
from meshcore.cli.demo.servers import DemoServer
from meshcore.cli.demo.table import Outcome, table_of
from meshcore.cli.demo.tally import Tally, TallyModule, identity_of
from meshcore.core.errors import MeshError
from meshcore.core.instances import Bound
from meshcore.core.settings import load_settings
from meshcore.declare.injection import module
from meshcore.examples import orders
from meshcore.mesh.mesh import Mesh
from meshcore.ports.registry import ComponentRegistry

T = TypeVar("T")

_COMPONENT = "orders"
CHANNELS = ("dispatch-json", "dispatch-msgpack", "rest")

_CALLERS = 3  # per channel
_PAUSE = 0.005  # seconds between two calls of one caller: a server that starts needs the processor, too
_PHASE = 2.0  # seconds of calls: with both servers, with one, and with both again
_START = 15.0  # seconds for a server to be found, on a machine that is busy
_NOTICE = 5.0  # seconds for a death to be noticed
_STOP = 5.0  # seconds for a server to end in order
_SHOWN = 3  # failures told in full

_SHELF = orders.Item("fixings", 2, parts=(orders.Item("bolt", 8), orders.Item("nut", 8)))
_DRAFT = orders.Draft("demo", (orders.Item("kit", 2, parts=(orders.Item("shelf"), _SHELF)), orders.Item("lamp")))
_TOTAL = Decimal("92.96")


def run(registry: str = "", *, fetch: bool = False) -> int:
    """Show it. The exit status is 0 if no call failed, 1 if something did, 128 and the number after a signal.

    Args:
        registry: a URL; or `consul` for an agent that is started for this, empty for a directory.
        fetch: whether the program `consul` may be fetched from this machine's package mirror.
    """
    return asyncio.run(_Demo(registry, fetch=fetch).run())


@module(imports=[orders.OrdersClient, TallyModule])
class ClientModule:
    """The client: what the orders example offers to clients, and the tally."""


class _Demo:
    def __init__(self, registry: str, *, fetch: bool) -> None:
        self._wanted = registry
        self._fetch = fetch
        self._registry = ""
        self._console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._servers: dict[str, DemoServer] = {}  # by URL
        self._outcomes = {channel: Outcome() for channel in CHANNELS}
        self._calling = True
        self._signal = 0

    async def run(self) -> int:
        main = cast("asyncio.Task[int]", asyncio.current_task())
        # What the client logs, such as that only the killed server is left when the others have ended, is no line of
        # the story.
        logging.getLogger("meshcore.registry").addHandler(logging.NullHandler())

        def interrupt(number: int) -> None:
            if not self._signal:  # what follows the first would only disturb the clean-up
                self._signal = number
                main.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
        try:
            with tempfile.TemporaryDirectory(prefix="meshcore-demo-") as folder:
                return await self._report(Path(folder))
        except asyncio.CancelledError:
            if not self._signal:
                raise
            self._tell(f"{signal.Signals(self._signal).name}: the servers have ended, nothing is left")
            return 128 + self._signal

    async def _report(self, folder: Path) -> int:
        try:
            tally = await self._show(folder)
        except Exception as error:
            cause = (
                cast("ExceptionGroup[Exception]", error).exceptions[0] if isinstance(error, ExceptionGroup) else error
            )
            self._tell(f"[red]failed:[/red] {cause}")
            self._show_logs()
            if isinstance(cause, DemoError | MeshError):
                return 1
            raise
        return self._close(tally)

    def _tell(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  {text}")

    async def _show(self, folder: Path) -> Tally:
        """The whole story; when it returns or raises, all servers have ended."""
        async with AsyncExitStack() as stack:
            registry = demo_registry(self._wanted, _COMPONENT, folder, self._tell, fetch=self._fetch)
            self._registry = await stack.enter_async_context(registry)
            self._tell(f"two servers start: [bold]hypercorn meshcore.app:app[/bold], hosting {orders.__name__}")
            first, second = [await stack.enter_async_context(self._server(label, folder)) for label in "AB"]
            settings = load_settings({"registry": self._registry}, environ={}, directory=folder)
            mesh = await stack.enter_async_context(Mesh(ClientModule, settings=settings))
            tally = await mesh.get(Tally)
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(self._follow(mesh))
                for server in (first, second):
                    await self._found(server)
                self._tell(
                    f"the client calls over {', '.join(CHANNELS)}: it places orders, reads them, asks for quotes"
                )
                callers = [tasks.create_task(self._call(mesh, name)) for name in CHANNELS for _ in range(_CALLERS)]
                await asyncio.sleep(_PHASE)
                await self._answers(tally, first, second)
                await self._kill(second, tally)
                await asyncio.sleep(_PHASE)
                self._tell("B is started anew, as B'")
                third = await stack.enter_async_context(self._server("B'", folder))
                await self._found(third)
                await asyncio.sleep(_PHASE)
                await self._answers(tally, third)
                self._calling = False
                await asyncio.wait(callers)
                for server in (first, third):
                    server.process.terminate()
                    await self._gone(server)
                following.cancel()
        self._tell("A and B' have ended in order")
        return tally

    @asynccontextmanager
    async def _server(self, label: str, folder: Path) -> AsyncGenerator[DemoServer]:
        """A server process that has ended when the context is left."""
        # Bound here and handed over open, so the port cannot be lost to anybody in between.
        with socket.create_server(("127.0.0.1", 0)) as sock:
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            environ = {key: value for key, value in os.environ.items() if not key.startswith("MESHCORE_")}
            environ |= {
                "MESHCORE_MODULE": f"{orders.__name__}:OrdersModule",
                "MESHCORE_REGISTRY": self._registry,
                "MESHCORE_ADVERTISE_URL": url,
                # Where the machine is slow, the one that is left seems overloaded, if only by what else runs. What it
                # refused would be sent again within a budget that is made for an overload, and fail beyond that.
                "MESHCORE_ADAPTIVE_LIMIT": "false",
                "ORDERS_DATABASE": f"{folder}/orders.sqlite",
            }
            log = folder / f"{label}.log"
            with log.open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    # No workers: the process itself serves, so its death is the server's. A worker would survive it.
                    *(sys.executable, "-m", "hypercorn", "--workers", "0", "--bind", f"fd://{sock.fileno()}"),
                    "meshcore.app:app",
                    pass_fds=[sock.fileno()],
                    cwd=folder,  # away from settings that lie in the user's folder
                    env=environ,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # Ctrl-C is for this process, which ends them in order
                )
        server = self._servers[url] = DemoServer(label, url, log, process)
        try:
            yield server
        finally:
            try:
                if process.returncode is None:
                    process.terminate()
                    async with asyncio.timeout(_STOP):
                        await process.wait()
            except TimeoutError:
                self._tell(f"{label} did not end within {_STOP:g} s and is killed")
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _follow(self, mesh: Mesh) -> None:
        """Watch the registry, as the mesh itself does, and tell what changes."""
        registry = await mesh.get(cast("type[Any]", ComponentRegistry))
        async with aclosing(registry.watch(_COMPONENT)) as sightings:
            async for sighting in sightings:
                instances = sighting.instances if isinstance(sighting, Bound) else ()
                urls = {instance.addresses[0].url: instance.id for instance in instances}
                for url, server in self._servers.items():
                    if url in urls and not server.present.is_set():
                        server.identity = identity_of(urls[url])
                        server.present.set()
                        self._tell(
                            f"the registry has [bold]{server.label}[/bold], process {server.process.pid}, at {url}"
                        )
                    elif url not in urls and server.present.is_set() and not server.absent.is_set():
                        server.absent.set()
                        if server.killed:
                            seconds = time.monotonic() - server.killed
                            self._tell(f"the registry has dropped {server.label}, {seconds:.2f} s after its death")

    async def _found(self, server: DemoServer) -> None:
        """Return when the registry has the server.

        Raises:
            DemoError: it ended before, or takes too long.
        """
        ended = asyncio.create_task(server.process.wait())
        present = asyncio.create_task(server.present.wait())
        try:
            await asyncio.wait([ended, present], timeout=_START, return_when=asyncio.FIRST_COMPLETED)
            if not present.done():
                state = (
                    f"ended with status {ended.result()}" if ended.done() else f"is not announced after {_START:g} s"
                )
                raise DemoError(f"server {server.label} {state}")
        finally:
            ended.cancel()
            present.cancel()

    async def _answers(self, tally: Tally, *servers: DemoServer) -> None:
        """Return when each has answered over all channels; if one never does, the table says so.

        A new server gets few calls at first, and fewer if the first take long because the machine is busy.
        """
        waiting = {(channel, server.identity) for channel in CHANNELS for server in servers}
        with suppress(TimeoutError):
            async with asyncio.timeout(_NOTICE):
                while not all(tally.answered[each] for each in waiting):  # noqa: ASYNC110
                    await asyncio.sleep(_PAUSE)

    async def _gone(self, server: DemoServer) -> None:
        try:
            # Not wait_for: on Python 3.11 it may swallow the cancellation that comes at the same time.
            async with asyncio.timeout(_NOTICE):
                await server.absent.wait()
        except TimeoutError:
            raise DemoError(f"the registry still has {server.label} after {_NOTICE:g} s") from None

    async def _kill(self, server: DemoServer, tally: Tally) -> None:
        before = tally.lost.total()
        self._tell(f"[bold red]SIGKILL[/bold red] to {server.label}, while calls go on")
        server.killed = time.monotonic()
        server.process.kill()
        await self._gone(server)
        self._tell(f"{tally.lost.total() - before} attempts were lost with it; the mesh made them again elsewhere")

    async def _call(self, mesh: Mesh, channel: str) -> None:
        """One caller: places an order, reads it (from whichever server), asks for a quote; until told to stop."""
        shop = await mesh.get_service(orders.OrderService, channel)
        pricing = await mesh.get_service(orders.PricingService, channel)
        while self._calling:
            order_id = uuid4()
            order = await self._measure(channel, shop.place(order_id, _DRAFT))
            if order is not None:
                if (order.id, order.total) != (order_id, _TOTAL):
                    self._outcomes[channel].failures.append(f"a wrong order: {order}")
                found = await self._measure(channel, shop.find(order_id))
                if found not in {order, None}:
                    self._outcomes[channel].failures.append(f"another order than was placed: {found}")
            await self._measure(channel, pricing.quote(_DRAFT.lines[0]))
            await asyncio.sleep(random.uniform(0, 2 * _PAUSE))

    async def _measure(self, channel: str, call: Awaitable[T]) -> T | None:
        began = time.perf_counter()
        try:
            answer = await call
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a call that failed
            self._outcomes[channel].failures.append(f"{type(error).__name__}: {error}")
            return None
        self._outcomes[channel].seconds.append(time.perf_counter() - began)
        return answer

    def _close(self, tally: Tally) -> int:
        """Print the table; the exit status."""
        servers = {server.label: server.identity for server in self._servers.values()}
        self._console.print(table_of(self._outcomes, servers, tally))
        problems = [f"{name}: {failure}" for name, outcome in self._outcomes.items() for failure in outcome.failures]
        for server in self._servers.values():
            problems += [
                f"{server.label} answered nothing over {name}"
                for name in CHANNELS
                if not tally.answered[name, server.identity]
            ]
        if not problems:
            self._tell("[green]no call failed[/green]")
            return 0
        for problem in problems[:_SHOWN]:
            self._tell(f"[red]{problem}[/red]")
        self._tell(f"[red]{len(problems)} failures[/red]")
        self._show_logs()
        return 1

    def _show_logs(self) -> None:
        for server in self._servers.values():
            self._console.rule(f"log of {server.label}")
            self._console.print(server.log.read_text(errors="replace") or "(empty)", markup=False)
