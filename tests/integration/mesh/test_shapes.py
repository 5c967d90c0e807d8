"""Which channels carry which shapes of methods: `get_service` says so, for interfaces of either form."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator

import pytest

from meshcore import Code, Component, LocalError, Mesh, Service, Settings, component, get, module, post, service

ALL = ("dispatch-json", "dispatch-msgpack", "rest", "stream-msgpack")
DISPATCH = ("dispatch-json", "dispatch-msgpack", "stream-msgpack")
STREAM = ("stream-msgpack",)


@service()
class Unary(Service):
    @get("/unary")
    @abstractmethod
    async def call(self) -> int: ...


@service()
class UnaryWithoutPath(Service):
    @abstractmethod
    async def call(self) -> int: ...


@service()
class PartlyMapped(Service):
    @get("/partly")
    @abstractmethod
    async def mapped(self) -> int: ...

    @abstractmethod
    async def call(self) -> int: ...


@service()
class ServerStream(Service):
    @get("/server-stream")
    @abstractmethod
    def call(self) -> AsyncIterator[int]: ...


@service()
class ServerStreamWithoutPath(Service):
    @get("/other")
    @abstractmethod
    async def mapped(self) -> int: ...

    @abstractmethod
    def call(self) -> AsyncIterator[int]: ...


@service()
class ClientStream(Service):
    @post("/client-stream")
    @abstractmethod
    async def call(self, items: AsyncIterator[int]) -> int: ...


@service()
class ClientStreamWithoutPath(Service):
    @abstractmethod
    async def call(self, items: AsyncIterator[int]) -> int: ...


@service()
class Bidirectional(Service):
    @abstractmethod
    def call(self, items: AsyncIterator[int]) -> AsyncIterator[int]: ...


@service()
class BlockingUnary(Service):
    @get("/blocking/unary")
    @abstractmethod
    def call(self) -> int: ...


@service()
class BlockingUnaryWithoutPath(Service):
    @abstractmethod
    def call(self) -> int: ...


@service()
class BlockingServerStream(Service):
    @get("/blocking/server-stream")
    @abstractmethod
    def call(self) -> Iterator[int]: ...


@service()
class BlockingServerStreamWithoutPath(Service):
    @abstractmethod
    def call(self) -> Iterator[int]: ...


@service()
class BlockingClientStream(Service):
    @post("/blocking/client-stream")
    @abstractmethod
    def call(self, items: Iterator[int]) -> int: ...


@service()
class BlockingClientStreamWithoutPath(Service):
    @abstractmethod
    def call(self, items: Iterator[int]) -> int: ...


@service()
class BlockingBidirectional(Service):
    @abstractmethod
    def call(self, items: Iterator[int]) -> Iterator[int]: ...


TABLE: list[tuple[type, str, tuple[str, ...]]] = [
    (Unary, "unary call", ALL),
    (UnaryWithoutPath, "unary call without a path", DISPATCH),
    (PartlyMapped, "unary call", ALL),  # what has no path says so at the call
    (ServerStream, "server stream", ALL),
    (ServerStreamWithoutPath, "server stream without a path", DISPATCH),
    (ClientStream, "client stream", ALL),
    (ClientStreamWithoutPath, "client stream without a path", DISPATCH),
    (Bidirectional, "bidirectional stream", STREAM),
    (BlockingUnary, "unary call", ALL),
    (BlockingUnaryWithoutPath, "unary call without a path", DISPATCH),
    (BlockingServerStream, "server stream", ALL),
    (BlockingServerStreamWithoutPath, "server stream without a path", DISPATCH),
    (BlockingClientStream, "client stream", ALL),
    (BlockingClientStreamWithoutPath, "client stream without a path", DISPATCH),
    (BlockingBidirectional, "bidirectional stream", STREAM),
]


@component(services=[interface for interface, _, _ in TABLE])
class Shapes(Component): ...


@module(components=[Shapes])
class Calling: ...


@pytest.mark.parametrize(("interface", "what", "carriers"), TABLE)
async def test_a_channel_that_cannot_carry_a_shape_is_refused(
    interface: type, what: str, carriers: tuple[str, ...]
) -> None:
    """At `get_service`, whose error names the channels that can. Without a name, any channel will do."""
    async with Mesh(Calling, settings=Settings(registry="local:")) as mesh:
        assert await mesh.get_service(interface) is not None
        for channel in ALL:
            if channel in carriers:
                assert await mesh.get_service(interface, channel) is not None
                continue
            with pytest.raises(LocalError) as caught:
                await mesh.get_service(interface, channel)
            assert caught.value.code is Code.UNIMPLEMENTED
            place, _, rest = caught.value.message.partition(" ")
            assert place.endswith(".call")
            over = ", ".join(["local", *carriers])
            assert rest == f"is a {what}, which channel {channel!r} cannot carry; it can be called over: {over}"
