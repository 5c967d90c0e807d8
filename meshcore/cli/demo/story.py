"""The mesh at work: two servers, a client that calls them over every channel, and a server that dies meanwhile.

This process is the client, and prints each event when it happens. The demo ends by itself and removes its files.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack, aclosing, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

from rich.console import Console

from meshcore.cli.demo.ending import run_to_the_end
from meshcore.cli.demo.registry import DemoError, demo_identity, demo_registry
from meshcore.cli.demo.servers import DemoServer, demo_server
from meshcore.cli.demo.table import Outcome, table_of
from meshcore.cli.demo.tally import Tally, TallyModule, identity_of
from meshcore.core.errors import MeshError
from meshcore.core.instances import Bound
from meshcore.declare.injection import module
from meshcore.examples import orders
from meshcore.mesh.mesh import Mesh
from meshcore.mesh.settings_loader import load_settings
from meshcore.ports.registry import ComponentRegistry

T = TypeVar("T")

_COMPONENT = "orders"
CHANNELS = ("stream-msgpack", "dispatch-msgpack", "dispatch-json", "rest")

_CALLERS = 3  # per channel
_PAUSE = 0.005  # seconds between two calls of one caller: a starting server needs processor time, too
_PHASE = 2.0  # seconds of calls: with both servers, with one, and with both again
_ANSWERS = 5.0  # seconds until every server has answered over every channel
_SHOWN = 3  # failures that are printed

_SHELF = orders.Item("fixings", 2, parts=(orders.Item("bolt", 8), orders.Item("nut", 8)))
_DRAFT = orders.Draft("demo", (orders.Item("kit", 2, parts=(orders.Item("shelf"), _SHELF)), orders.Item("lamp")))
_TOTAL = Decimal("92.96")


def run(registry: str = "", *, fetch: bool = False, identity: str = "") -> int:
    """Run the demo.

    Args:
        registry: the URL of a registry, `consul` to start a Consul agent, or empty for a directory.
        fetch: whether the program `consul` may be fetched from this machine's package mirror.
        identity: `dev` for mutual TLS with certificates of the demo alone, or empty.

    Returns:
        The exit status: 0 if no call failed, 1 if something did, 128 plus the number of a signal that ended it.
    """
    return asyncio.run(_Demo(registry, fetch=fetch, identity=identity).run())


@module(imports=[orders.OrdersClient, TallyModule])
class ClientModule:
    """The module of the client: the one of the orders example, and the tally."""


class _Demo:
    def __init__(self, registry: str, *, fetch: bool, identity: str) -> None:
        self._wanted = registry
        self._fetch = fetch
        self._identity = identity
        self._registry = ""
        self._console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._servers: dict[str, DemoServer] = {}  # by URL
        self._outcomes = {channel: Outcome() for channel in CHANNELS}
        self._calling = True

    async def run(self) -> int:
        # The log of the client does not belong into the output, such as the warning at the end that only the killed
        # server is left.
        logging.getLogger("meshcore").addHandler(logging.NullHandler())
        return await run_to_the_end(self._report, self._tell)

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
        """Run all phases. When it returns or raises, all servers have ended."""
        async with AsyncExitStack() as stack:
            self._identity = demo_identity(self._identity, folder)
            registry = demo_registry(self._wanted, _COMPONENT, folder, self._tell, fetch=self._fetch)
            self._registry = await stack.enter_async_context(registry)
            self._tell(f"two servers start: [bold]hypercorn meshcore.app:app[/bold], hosting {orders.__name__}")
            first, second = [await self._start(stack, label, folder) for label in "AB"]
            settings = load_settings(
                {"registry": self._registry, "identity": self._identity or None}, environ={}, directory=folder
            )
            mesh = await stack.enter_async_context(Mesh(ClientModule, settings=settings))
            tally = await mesh.get(Tally)
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(self._follow(mesh))
                for server in (first, second):
                    await server.until_present()
                self._tell(
                    f"the client calls over {', '.join(CHANNELS)}: it places orders, reads them, asks for quotes"
                )
                callers = [tasks.create_task(self._call(mesh, name)) for name in CHANNELS for _ in range(_CALLERS)]
                await asyncio.sleep(_PHASE)
                await self._answers(tally, first, second)
                await self._kill(second, tally)
                await asyncio.sleep(_PHASE)
                self._tell("B is started anew, as B'")
                third = await self._start(stack, "B'", folder)
                await third.until_present()
                await asyncio.sleep(_PHASE)
                await self._answers(tally, third)
                self._calling = False
                await asyncio.wait(callers)
                for server in (first, third):
                    server.process.terminate()
                    await server.until_absent()
                following.cancel()
        self._tell("A and B' have ended in order")
        return tally

    async def _start(self, stack: AsyncExitStack, label: str, folder: Path) -> DemoServer:
        module, identity = f"{orders.__name__}:OrdersModule", self._identity
        starting = demo_server(label, module, self._registry, folder, self._tell, identity=identity)
        server = await stack.enter_async_context(starting)
        self._servers[server.url] = server
        return server

    async def _follow(self, mesh: Mesh) -> None:
        """Watch the registry, and print which servers come and go."""
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

    async def _answers(self, tally: Tally, *servers: DemoServer) -> None:
        """Return when each server has answered over every channel, or after a while: the table shows missing answers.

        A new server gets few calls at first, and even fewer if its first calls are slow on a busy machine.
        """
        waiting = {(channel, server.identity) for channel in CHANNELS for server in servers}
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWERS):
                while not all(tally.answered[each] for each in waiting):  # noqa: ASYNC110
                    await asyncio.sleep(_PAUSE)

    async def _kill(self, server: DemoServer, tally: Tally) -> None:
        before = tally.lost.total()
        self._tell(f"[bold red]SIGKILL[/bold red] to {server.label}, while calls go on")
        server.killed = time.monotonic()
        server.process.kill()
        await server.until_absent()
        self._tell(f"{tally.lost.total() - before} attempts were lost with it; the mesh retried them elsewhere")

    async def _call(self, mesh: Mesh, channel: str) -> None:
        """Place an order, read it, ask for a quote, and start again, until the calls are to end."""
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
                    self._outcomes[channel].failures.append(f"not the order that was placed: {found}")
            await self._measure(channel, pricing.quote(_DRAFT.lines[0]))
            await asyncio.sleep(random.uniform(0, 2 * _PAUSE))

    async def _measure(self, channel: str, call: Awaitable[T]) -> T | None:
        began = time.perf_counter()
        try:
            answer = await call
        except Exception as error:  # noqa: BLE001 - any exception is a failed call
            self._outcomes[channel].failures.append(f"{type(error).__name__}: {error}")
            return None
        self._outcomes[channel].seconds.append(time.perf_counter() - began)
        return answer

    def _close(self, tally: Tally) -> int:
        """Print the table, and return the exit status."""
        servers = {server.label: server.identity for server in self._servers.values()}
        self._console.print(table_of(self._outcomes, servers, tally))
        problems = [f"{name}: {failure}" for name, outcome in self._outcomes.items() for failure in outcome.failures]
        for server in self._servers.values():
            problems += [
                f"{server.label} answered no call over {name}"
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
