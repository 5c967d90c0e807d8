# /// script
# dependencies = ["connectrpc>=0.12", "protobuf>=6.33", "uvicorn[standard]>=0.38", "uvloop>=0.22.1"]
# ///
"""connectrpc (Connect for Python): its ASGI application on uvicorn, and its client; both sides convert to dataclasses.

Compression is off, as it is for all peers: on one machine it only costs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn
from connectrpc.client import ConnectClient
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_codecs
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication, Endpoint

from benchmarks.comparison.answering import HOST, answering
from benchmarks.comparison.child import run
from benchmarks.comparison.messages import CountMessage, EmptyMessage, NodeMessage, TextMessage, to_message, to_node
from benchmarks.comparison.payload import TEXT, Node, Workload, item, tree
from benchmarks.comparison.peer import Call, Calls, Peer

SERVICE = "bench.Echo"


def method(name: str, message: Any, answer: Any, kind: StreamType = StreamType.UNARY) -> MethodInfo[Any, Any]:
    """What the compiler would make."""
    return MethodInfo(
        name=name,
        service_name=SERVICE,
        input=message,
        output=answer,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=kind,
    )


EMPTY = method("Empty", EmptyMessage, EmptyMessage)
TREE = method("Tree", NodeMessage, NodeMessage)
TEXTS = method("Text", TextMessage, TextMessage)
ITEMS = method("Items", CountMessage, NodeMessage, StreamType.SERVER_STREAM)


class Echo:
    """The work."""

    async def empty(self, message: Any, _: object) -> Any:
        """Do nothing."""
        return message

    async def tree(self, message: Any, _: object) -> Any:
        """Answer the tree as it is."""
        return to_message(to_node(message))

    async def text(self, message: Any, _: object) -> Any:
        """Answer the text as it is."""
        return TextMessage(text=message.text)

    async def items(self, message: Any, _: object) -> AsyncIterator[Any]:
        """So many items."""
        for number in range(message.count):
            yield to_message(item(number))


class Application(ConnectASGIApplication[Echo]):
    """What the compiler would make."""

    def __init__(self) -> None:
        super().__init__(
            service=Echo(),
            endpoints=lambda echo: {
                f"/{SERVICE}/Empty": Endpoint.unary(EMPTY, echo.empty),
                f"/{SERVICE}/Tree": Endpoint.unary(TREE, echo.tree),
                f"/{SERVICE}/Text": Endpoint.unary(TEXTS, echo.text),
                f"/{SERVICE}/Items": Endpoint.server_stream(ITEMS, echo.items),
            },
            compressions=(),
            codecs=google_protobuf_codecs(),
        )

    @property
    def path(self) -> str:
        """Where it is mounted."""
        return f"/{SERVICE}"


@asynccontextmanager
async def serve(variant: str, port: int) -> AsyncGenerator[None, None]:  # noqa: ARG001 - there is one
    """uvicorn, with its defaults, but for the log of requests."""
    config = uvicorn.Config(Application(), host=HOST, port=port, access_log=False, log_level="warning")
    async with answering(uvicorn.Server(config).serve(), port):
        yield


@asynccontextmanager
async def connect(variant: str, port: int) -> AsyncGenerator[Calls, None]:  # noqa: ARG001 - there is one
    """One client."""
    client = ConnectClient(
        f"http://{HOST}:{port}",
        codec=google_protobuf_binary_codec(),
        accept_compression=(),
        send_compression=None,
    )
    async with client:
        argument = tree()

        async def tree_of() -> Node:
            return to_node(await client.execute_unary(request=to_message(argument), method=TREE))

        async def text() -> str:
            answer = await client.execute_unary(request=TextMessage(text=TEXT), method=TEXTS)
            return str(answer.text)

        async def items(count: int) -> tuple[int, Node | None]:
            number, last = 0, None
            async for each in client.execute_server_stream(request=CountMessage(count=count), method=ITEMS):
                last = to_node(each)
                number += 1
            return number, last

        yield {
            Workload.EMPTY: Call(partial(client.execute_unary, request=EmptyMessage(), method=EMPTY), EmptyMessage()),
            Workload.TREE: Call(tree_of, argument),
            Workload.TEXT: Call(text, TEXT),
            Workload.STREAM: Call(items),
        }


PEER = Peer("connectrpc", [""], serve, connect)

if __name__ == "__main__":
    run(PEER)
