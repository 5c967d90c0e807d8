# /// script
# dependencies = ["thriftpy2>=0.5.3", "uvloop>=0.22.1"]
# ///
"""thriftpy2: its servers and clients for asyncio, and those for threads, which are compiled.

Both convert to dataclasses. A connection carries one call at a time, so each caller has one.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import thriftpy2
from thriftpy2.contrib.aio.rpc import make_client as make_async_client
from thriftpy2.contrib.aio.rpc import make_server as make_async_server
from thriftpy2.rpc import make_client, make_server

from benchmarks.comparison.answering import HOST, answering
from benchmarks.comparison.child import run
from benchmarks.comparison.payload import TEXT, Node, Workload, tree
from benchmarks.comparison.peer import Call, Calls, Peer

SOURCE = """
struct Node { 1: string sku, 2: i64 quantity, 3: string price, 4: list<Node> parts }
service Echo { void empty(), Node tree(1: Node tree), string text(1: string text) }
"""
ASYNCIO, THREADS = "asyncio", "threads"
FOREVER = None
"""A connection of a candidate that waits for its turn is not to be closed."""

idl: Any = thriftpy2.load_fp(io.StringIO(SOURCE), "bench_thrift")


def to_struct(node: Node) -> Any:
    """The struct for a node."""
    return idl.Node(
        sku=node.sku, quantity=node.quantity, price=node.price, parts=[to_struct(part) for part in node.parts]
    )


def to_node(struct: Any) -> Node:
    """The node in a struct."""
    return Node(struct.sku, struct.quantity, struct.price, [to_node(part) for part in struct.parts])


class Echo:
    """The work, in threads."""

    def empty(self) -> None:
        """Do nothing."""

    def tree(self, tree: Any) -> Any:
        """Answer the tree as it is."""
        return to_struct(to_node(tree))

    def text(self, text: str) -> str:
        """Answer the text as it is."""
        return text


class AsyncEcho:
    """The work, with asyncio."""

    async def empty(self) -> None:
        """Do nothing."""

    async def tree(self, tree: Any) -> Any:
        """Answer the tree as it is."""
        return to_struct(to_node(tree))

    async def text(self, text: str) -> str:
        """Answer the text as it is."""
        return text


@asynccontextmanager
async def serve(variant: str, port: int) -> AsyncGenerator[None, None]:
    """Its server of either kind, with its defaults, but for the time limit of a connection."""
    if variant == ASYNCIO:
        server = make_async_server(idl.Echo, AsyncEcho(), host=HOST, port=port, client_timeout=FOREVER)
        server.trans.listen()
        async with await server.trans.accept(server.handle):
            yield
        return
    threaded = make_server(idl.Echo, Echo(), host=HOST, port=port, client_timeout=FOREVER)
    threaded.daemon = True
    threading.Thread(target=threaded.serve, daemon=True).start()
    async with answering(asyncio.Event().wait(), port):
        yield


@asynccontextmanager
async def connect(variant: str, port: int) -> AsyncGenerator[Calls, None]:
    """A client for each caller."""
    if variant == ASYNCIO:
        async with AsyncExitStack() as stack:
            yield _asyncio(port, stack)
    else:
        yield _threads(port)


def _asyncio(port: int, stack: AsyncExitStack) -> Calls:
    free: list[Any] = []
    argument = tree()

    async def call(name: str, *arguments: Any) -> Any:
        client = free.pop() if free else await more()
        try:
            return await getattr(client, name)(*arguments)
        finally:
            free.append(client)

    async def more() -> Any:
        client = await make_async_client(idl.Echo, HOST, port, timeout=FOREVER)
        stack.callback(client.close)
        return client

    async def empty() -> None:
        await call("empty")

    async def tree_of() -> Node:
        return to_node(await call("tree", to_struct(argument)))

    async def text() -> Any:
        return await call("text", TEXT)

    return {
        Workload.EMPTY: Call(empty),
        Workload.TREE: Call(tree_of, argument),
        Workload.TEXT: Call(text, TEXT),
    }


def _threads(port: int) -> Calls:
    local = threading.local()
    argument = tree()

    def client() -> Any:
        if not hasattr(local, "client"):
            local.client = make_client(idl.Echo, HOST, port, timeout=FOREVER)
        return local.client

    return {
        Workload.EMPTY: Call(lambda: client().empty(), blocking=True),
        Workload.TREE: Call(lambda: to_node(client().tree(to_struct(argument))), argument, blocking=True),
        Workload.TEXT: Call(lambda: client().text(TEXT), TEXT, blocking=True),
    }


PEER = Peer("thriftpy2", [ASYNCIO, THREADS], serve, connect)

if __name__ == "__main__":
    run(PEER)
