"""meshcore itself, over each channel that is installed, with all that is on by default."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from hypercorn.asyncio import serve as hypercorn
from hypercorn.config import Config

from benchmarks.comparison.answering import HOST, answering
from benchmarks.comparison.child import run
from benchmarks.comparison.payload import TEXT, Node, Workload, item, tree
from benchmarks.comparison.peer import Call, Calls, Peer
from meshcore import (
    AbstractComponent,
    Body,
    Component,
    Mesh,
    MeshApp,
    Service,
    Settings,
    client_module,
    component,
    implementation,
    load_settings,
    module,
    post,
    rest,
    service,
)
from meshcore.ports.installed import installed_channels


@service()
@rest("/echo")
class Echo(Service):
    """What is called."""

    @abstractmethod
    @post("/empty")
    async def empty(self) -> None:
        """Do nothing."""

    @abstractmethod
    @post("/tree")
    async def tree(self, tree: Body[Node]) -> Node:
        """Answer the tree as it is."""

    @abstractmethod
    @post("/text")
    async def text(self, text: Body[str]) -> str:
        """Answer the text as it is."""


@service()
@rest("/stream")
class Stream(Service):
    """The stream. Whether there is such a thing is for the installed meshcore to say, and for each channel."""

    @abstractmethod
    @post("/items")
    def items(self, count: int) -> AsyncIterator[Node]:
        """So many items."""


@component(name="echo", services=[Echo])
class EchoComponent(Component):
    """Offers the calls."""


@component(name="stream", services=[Stream])
class StreamComponent(Component):
    """Offers the stream."""


@implementation()
class EchoImpl(Echo):
    """Does nothing, so that the call is all there is."""

    async def empty(self) -> None:
        """Do nothing."""

    async def tree(self, tree: Node) -> Node:
        """Answer the tree as it is."""
        return tree

    async def text(self, text: str) -> str:
        """Answer the text as it is."""
        return text


@implementation()
class StreamImpl(Stream):
    """Makes items."""

    async def items(self, count: int) -> AsyncIterator[Node]:
        """So many items."""
        for number in range(count):
            yield item(number)


@implementation()
class EchoComponentImpl(AbstractComponent, EchoComponent):
    """The component."""


@implementation()
class StreamComponentImpl(AbstractComponent, StreamComponent):
    """The component."""


def served(*parts: type) -> type:
    """The module of a server. It says that it stands elsewhere, since a module takes all that stands beside it."""
    return module(provides=parts)(type("Served", (), {"__module__": f"{__name__}.served"}))


CALLS, STREAMS = (EchoImpl, EchoComponentImpl), (StreamImpl, StreamComponentImpl)


def settings_for(channel: str, port: int) -> Settings:
    """The defaults, and a server at a fixed place."""
    url = f"http://{HOST}:{port}"
    registry = f"static:echo={channel}({url});stream={channel}({url})"
    return load_settings({"registry": registry, "advertise_url": url}, environ={})


@asynccontextmanager
async def serve(variant: str, port: int) -> AsyncGenerator[None, None]:
    """hypercorn, with its defaults, as for any ASGI application."""
    app = MeshApp(served(*CALLS, *STREAMS), settings=settings_for(variant, port))
    config = Config.from_mapping(bind=f"{HOST}:{port}")
    async with answering(hypercorn(app, config, shutdown_trigger=asyncio.Event().wait), port):
        yield


@asynccontextmanager
async def connect(variant: str, port: int) -> AsyncGenerator[Calls, None]:
    """A mesh that only calls."""
    async with Mesh(client_module(EchoComponent, StreamComponent), settings=settings_for(variant, port)) as mesh:
        echo = await mesh.get_service(Echo, variant)

        async def items(count: int) -> tuple[int, Node | None]:
            stream = await mesh.get_service(Stream, variant)  # says so, if this channel cannot
            number, last = 0, None
            async for each in stream.items(count):
                last = each
                number += 1
            return number, last

        yield {
            Workload.EMPTY: Call(echo.empty),
            Workload.TREE: Call(partial(echo.tree, tree()), tree()),
            Workload.TEXT: Call(partial(echo.text, TEXT), TEXT),
            Workload.STREAM: Call(items),
        }


PEER = Peer("meshcore", sorted(installed_channels()), serve, connect)

if __name__ == "__main__":
    run(PEER)
