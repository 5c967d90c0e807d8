# /// script
# dependencies = ["grpcio>=1.76", "protobuf>=6.33", "uvloop>=0.22.1"]
# ///
"""grpc.aio on uvloop: a call each, and its bidirectional stream used as one connection for all calls.

"dataclasses": both sides convert between messages and dataclasses, as a program has to that is not built on messages.
"messages": nothing is converted, and the argument is made once, which is the least that can be.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

import grpc.aio

from benchmarks.comparison.answering import HOST
from benchmarks.comparison.child import run
from benchmarks.comparison.messages import (
    CountMessage,
    EmptyMessage,
    FrameMessage,
    NodeMessage,
    TextMessage,
    to_message,
    to_node,
)
from benchmarks.comparison.payload import TEXT, Node, Workload, item, tree
from benchmarks.comparison.peer import Call, Calls, Peer

UNARY, UNARY_MESSAGES = "unary, dataclasses", "unary, messages"
STREAM, STREAM_MESSAGES = "one stream, dataclasses", "one stream, messages"
CONVERTED = (UNARY, STREAM)
SERVICE = "bench.Echo"


class Servicer:
    """The work.

    Args:
        converted: whether it is done with dataclasses.
    """

    def __init__(self, *, converted: bool) -> None:
        self._converted = converted

    def handlers(self) -> grpc.GenericRpcHandler:
        """What the compiler would make."""

        def of(kind: Callable[..., Any], method: Callable[..., Any], message: Any, answer: Any) -> Any:
            return kind(method, request_deserializer=message.FromString, response_serializer=answer.SerializeToString)

        unary = grpc.unary_unary_rpc_method_handler
        methods = {
            "Empty": of(unary, self.empty, EmptyMessage, EmptyMessage),
            "Tree": of(unary, self.tree, NodeMessage, NodeMessage),
            "Text": of(unary, self.text, TextMessage, TextMessage),
            "Items": of(grpc.unary_stream_rpc_method_handler, self.items, CountMessage, NodeMessage),
            "Frames": of(grpc.stream_stream_rpc_method_handler, self.frames, FrameMessage, FrameMessage),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _tree(self, message: Any) -> Any:
        return to_message(to_node(message)) if self._converted else message

    async def empty(self, message: Any, _: object) -> Any:
        """Do nothing."""
        return message

    async def tree(self, message: Any, _: object) -> Any:
        """Answer the tree as it is."""
        return self._tree(message)

    async def text(self, message: Any, _: object) -> Any:
        """Answer the text as it is."""
        return TextMessage(text=message.text)

    async def items(self, message: Any, _: object) -> AsyncIterator[Any]:
        """So many items."""
        same = to_message(item(0))
        for number in range(message.count):
            if self._converted:
                yield to_message(item(number))
            else:
                same.quantity = number
                yield same

    async def frames(self, frames: AsyncIterator[Any], _: object) -> AsyncIterator[Any]:
        """Answer each frame as it comes."""
        async for frame in frames:
            if frame.HasField("tree"):
                yield FrameMessage(id=frame.id, tree=self._tree(frame.tree))
            else:
                yield frame


@asynccontextmanager
async def serve(variant: str, port: int) -> AsyncGenerator[None, None]:
    """A server with its defaults."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Servicer(converted=variant in CONVERTED).handlers(),))
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    yield
    await server.stop(None)


@asynccontextmanager
async def connect(variant: str, port: int) -> AsyncGenerator[Calls, None]:
    """One channel, with its defaults."""
    async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
        if variant in (UNARY, UNARY_MESSAGES):
            yield unary(channel, converted=variant in CONVERTED)
        else:
            async with Frames(channel) as frames:
                yield frames.calls(converted=variant in CONVERTED)


def stub(kind: Callable[..., Any], name: str, message: Any, answer: Any) -> Any:
    """What the compiler would make."""
    return kind(
        f"/{SERVICE}/{name}", request_serializer=message.SerializeToString, response_deserializer=answer.FromString
    )


def unary(channel: grpc.aio.Channel, *, converted: bool) -> Calls:
    """A call each."""
    empty = stub(channel.unary_unary, "Empty", EmptyMessage, EmptyMessage)
    tree_of = stub(channel.unary_unary, "Tree", NodeMessage, NodeMessage)
    text_of = stub(channel.unary_unary, "Text", TextMessage, TextMessage)
    items_of = stub(channel.unary_stream, "Items", CountMessage, NodeMessage)
    argument, message = tree(), to_message(tree())

    async def plain_tree() -> Any:
        return await tree_of(message)

    async def converted_tree() -> Node:
        return to_node(await tree_of(to_message(argument)))

    async def text() -> str:
        answer = await text_of(TextMessage(text=TEXT))
        return str(answer.text)

    async def items(count: int) -> tuple[int, Node | None]:
        number, last = 0, None
        async for each in items_of(CountMessage(count=count)):
            last = to_node(each) if converted else each
            number += 1
        return number, last if isinstance(last, Node) or last is None else to_node(last)

    return {
        Workload.EMPTY: Call(partial(empty, EmptyMessage()), EmptyMessage()),
        Workload.TREE: Call(converted_tree, argument) if converted else Call(plain_tree, message),
        Workload.TEXT: Call(text, TEXT),
        Workload.STREAM: Call(items),
    }


class Frames:
    """Many calls at once in one bidirectional stream, told apart by a number.

    Args:
        channel: for the stream.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = stub(channel.stream_stream, "Frames", FrameMessage, FrameMessage)(self._send())
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last = 0

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._receive())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        self._call.cancel()

    async def _send(self) -> AsyncIterator[Any]:
        while True:
            yield await self._queue.get()

    async def _receive(self) -> None:
        async for frame in self._call:
            self._waiting.pop(frame.id).set_result(frame)

    async def ask(self, **fields: Any) -> Any:
        """One call."""
        self._last += 1
        answer = self._waiting[self._last] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(FrameMessage(id=self._last, **fields))
        return await answer

    def calls(self, *, converted: bool) -> Calls:
        """What it can do."""
        argument, message = tree(), to_message(tree())

        async def empty() -> None:
            await self.ask()

        async def plain_tree() -> Any:
            return (await self.ask(tree=message)).tree

        async def converted_tree() -> Node:
            return to_node((await self.ask(tree=to_message(argument))).tree)

        async def text() -> str:
            answer = await self.ask(text=TextMessage(text=TEXT))
            return str(answer.text.text)

        return {
            Workload.EMPTY: Call(empty),
            Workload.TREE: Call(converted_tree, argument) if converted else Call(plain_tree, message),
            Workload.TEXT: Call(text, TEXT),
        }


PEER = Peer("grpc.aio", [UNARY, UNARY_MESSAGES, STREAM, STREAM_MESSAGES], serve, connect)

if __name__ == "__main__":
    run(PEER)
