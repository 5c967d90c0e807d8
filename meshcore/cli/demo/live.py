"""The mesh at work for as long as somebody looks: servers that the live page kills and starts, and a client that calls.

This process is the client, and the one that starts the servers. Ctrl-C ends it, and removes its files.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from rich.console import Console

from meshcore.cli.demo.ending import run_to_the_end
from meshcore.cli.demo.registry import DemoError, demo_identity, demo_registry
from meshcore.cli.demo.servers import DemoServer, demo_server
from meshcore.core.errors import MeshError
from meshcore.examples import orders
from meshcore.mesh.mesh import Mesh
from meshcore.mesh.settings_loader import load_settings
from meshcore.ports.registry import ComponentRegistry
from meshcore.serve.monitoring.siblings import new_folder
from meshcore.wire.endpoints import PAGE

_MODULES = {"orders": "CounterModule", "warehouse": "WarehouseModule"}
"""What a new server of a component serves."""

_PAGED, _PLAIN = "meshcore.cli.demo.page:make_app()", "meshcore.app:app"
"""The application of a server, with the live page and without."""

_VIEWER = "meshcore.cli.demo.page:make_viewer()"
"""That of a process that only shows the page, where the servers do so only to those with a certificate."""

_EACH = 2  # servers of a component at the start
_MOST = 12  # servers at the same time: somebody may press the button again and again
_CALLERS = 6
_PAUSE = 0.05  # seconds between two calls of one caller, on average
_UNKNOWN = 0.02  # share of orders for a product that nobody has, so that the page has errors to show

_DRAFT = orders.Draft("demo", (orders.Item("lamp"), orders.Item("bolt", 8)))
_MISTAKE = orders.Draft("demo", (orders.Item("unicorn"),))


def run(registry: str = "", *, fetch: bool = False, identity: str = "") -> int:
    """Run the demo until a signal. Arguments and result are those of `story.run`; Ctrl-C is its usual end."""
    return asyncio.run(_Live(registry, fetch=fetch, identity=identity).run())


class _Live:
    def __init__(self, registry: str, *, fetch: bool, identity: str) -> None:
        self._wanted = registry
        self._fetch = fetch
        self._identity = identity
        self._console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._servers: dict[str, DemoServer] = {}  # those that run, by URL
        self._numbers = count(1)
        self._registry: ComponentRegistry | None = None

    async def run(self) -> int:
        logging.getLogger("meshcore").addHandler(logging.NullHandler())  # killed servers are what it is about
        return await run_to_the_end(self._show, self._tell, wanted=(signal.SIGINT,))

    def _tell(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  {text}")

    async def _show(self, folder: Path) -> int:
        try:
            async with AsyncExitStack() as stack:
                registry = demo_registry(self._wanted, "orders", folder, self._tell, fetch=self._fetch)
                url = await stack.enter_async_context(registry)
                socket = Path(stack.enter_context(new_folder())) / "control"
                identity = demo_identity(self._identity, folder)

                async def run(label: str, module: str, app: str) -> DemoServer:
                    starting = demo_server(
                        *(label, module, url, folder, self._tell), identity=identity, app=app, control=str(socket)
                    )
                    return await stack.enter_async_context(starting)

                async def start(component: str) -> DemoServer:
                    label, module = f"{component}-{next(self._numbers)}", _MODULES[component]
                    server = await run(label, f"{orders.__name__}:{module}", _PLAIN if identity else _PAGED)
                    self._servers[server.url] = server
                    self._tell(f"[bold]{label}[/bold] starts, process {server.process.pid}, at {server.url}")
                    return server

                async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    what, _, instance = (await reader.readline()).decode().strip().partition(" ")
                    try:
                        if what == "kill":
                            await self._kill(instance)
                        else:
                            await self._start(start, instance)
                        said = "ok"
                    except DemoError as error:
                        said = str(error)
                    writer.write(f"{said}\n".encode())
                    writer.close()

                await stack.enter_async_context(await asyncio.start_unix_server(control, socket))
                started = [await start(component) for component in _MODULES for _ in range(_EACH)]
                shown = (await run("page", "", _VIEWER)).url.replace("https", "http", 1) if identity else started[0].url
                used = {"registry": url, "identity": identity or None}
                settings = load_settings(used, environ={}, directory=folder)
                mesh = await stack.enter_async_context(Mesh(orders.OrdersClient, settings=settings))
                self._registry = await mesh.get(cast("type[Any]", ComponentRegistry))
                await mesh.wait_for(orders.OrderService)
                await mesh.wait_for(orders.PricingService)
                self._tell(f"the mesh is at [bold]{shown}{PAGE}[/bold], until Ctrl-C")
                if identity:
                    self._tell(f"in another terminal: meshcore top --registry {url} --identity {identity}")
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(_CALLERS):
                        tasks.create_task(_call(mesh))
        except DemoError as error:
            self._tell(f"[red]failed:[/red] {error}")
        return 1

    async def _kill(self, instance: str) -> None:
        if self._registry is None:
            raise DemoError("the demonstration has not started yet")
        found = await self._registry.instances()
        urls = [each.addresses[0].url for some in found.values() for each in some if each.id == instance]
        server = self._servers.pop(urls[0], None) if urls else None
        if server is None:
            raise DemoError(f"{instance} is no server of this demonstration")
        self._tell(f"[bold red]SIGKILL[/bold red] to {server.label}")
        server.process.kill()

    async def _start(self, start: Any, instance: str) -> None:
        component = instance.rpartition("-")[0]
        if component not in _MODULES:
            raise DemoError(f"this demonstration has no component {component!r}")
        if len(self._servers) >= _MOST:
            raise DemoError(f"{_MOST} servers run already")
        await start(component)


async def _call(mesh: Mesh) -> None:
    """Place orders, read them, and ask for quotes, without end. What fails is seen on the page."""
    shop = await mesh.get_service(orders.OrderService)
    pricing = await mesh.get_service(orders.PricingService)
    while True:
        try:
            order = await shop.place(uuid4(), _MISTAKE if random.random() < _UNKNOWN else _DRAFT)
            await shop.find(order.id)
            await pricing.quote(_DRAFT.lines[0])
        except (MeshError, orders.UnknownProduct, orders.OutOfStock):
            pass
        await asyncio.sleep(random.uniform(0, 2 * _PAUSE))
