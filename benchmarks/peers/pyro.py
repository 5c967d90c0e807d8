# /// script
# dependencies = ["Pyro5>=5.15", "msgpack>=1.0.8"]
# ///
"""Pyro5: its server and client for threads, with its usual serializer, serpent, and with msgpack.

Both convert to dataclasses. A connection carries one call at a time, so each caller has one. Its streams are left out:
each item is a call of its own, so one of 100,000 takes minutes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import Pyro5.api

from benchmarks.comparison.answering import HOST, answering
from benchmarks.comparison.child import run
from benchmarks.comparison.payload import TEXT, Node, Workload, tree
from benchmarks.comparison.peer import Call, Calls, Peer

SERPENT, MSGPACK = "serpent", "msgpack"
OBJECT = "echo"

Pyro5.config.COMMTIMEOUT = 0.0  # a connection of a candidate that waits for its turn is not to be closed


def plain(node: Node) -> dict[str, Any]:
    """What its serializers can write of a node."""
    return {
        "sku": node.sku,
        "quantity": node.quantity,
        "price": node.price,
        "parts": [plain(part) for part in node.parts],
    }


def to_node(data: dict[str, Any]) -> Node:
    """The node in what was read."""
    return Node(data["sku"], data["quantity"], data["price"], [to_node(part) for part in data["parts"]])


@Pyro5.api.expose
class Echo:
    """The work."""

    def empty(self) -> None:
        """Do nothing."""

    def tree(self, tree: Any) -> Any:
        """Answer the tree as it is."""
        return plain(to_node(tree))

    def text(self, text: str) -> str:
        """Answer the text as it is."""
        return text


@asynccontextmanager
async def serve(_: str, port: int) -> AsyncGenerator[None, None]:
    """Its server with its defaults: a thread for each connection."""
    daemon = Pyro5.api.Daemon(HOST, port)
    daemon.register(Echo(), OBJECT)
    threading.Thread(target=daemon.requestLoop, daemon=True).start()
    async with answering(asyncio.Event().wait(), port):
        yield


@asynccontextmanager
async def connect(variant: str, port: int) -> AsyncGenerator[Calls, None]:
    """A proxy for each caller."""
    Pyro5.config.SERIALIZER = variant
    local = threading.local()
    argument = tree()

    def proxy() -> Any:
        if not hasattr(local, "proxy"):
            local.proxy = Pyro5.api.Proxy(f"PYRO:{OBJECT}@{HOST}:{port}")
        return local.proxy

    yield {
        Workload.EMPTY: Call(lambda: proxy().empty(), blocking=True),
        Workload.TREE: Call(lambda: to_node(proxy().tree(plain(argument))), argument, blocking=True),
        Workload.TEXT: Call(lambda: proxy().text(TEXT), TEXT, blocking=True),
    }


PEER = Peer("Pyro5", [SERPENT, MSGPACK], serve, connect)

if __name__ == "__main__":
    run(PEER)
