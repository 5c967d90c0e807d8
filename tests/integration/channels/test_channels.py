"""Every channel keeps the contract of channels, also one of a user's own; and the kit notices those that do not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from yarl import URL

from examples.greeting import Greeting, GreetingComponent
from meshcore import (
    Call,
    ChannelOptions,
    Code,
    CommunicationError,
    ComponentDescription,
    Endpoint,
    Mesh,
    MeshError,
    RemoteError,
    channel,
    injectable,
    load_settings,
    module,
)
from meshcore.channels.dispatch import DispatchJsonChannel
from meshcore.channels.http import HTTPChannel
from meshcore.codec.codec import JSON, Limits
from meshcore.testing import check_channel
from meshcore.testing.servers import answering
from meshcore.wire.dispatch import MethodCodec


@pytest.mark.parametrize("name", ["dispatch-json", "dispatch-msgpack", "rest", "stream-msgpack"])
async def test_installed_channels_conform(name: str) -> None:
    """Each channel of the distribution keeps all clauses."""
    await check_channel(name)


@injectable()
class Token:
    text = "secret"


@channel("fancy")
class FancyChannel(HTTPChannel):
    """What an author may write: formats that are at hand, a header of one's own, an injected object."""

    def __init__(self, token: Token) -> None:
        self.headers = {"content-type": "application/json", "authorization": f"Bearer {token.text}"}

    def bind(self, component: ComponentDescription, options: ChannelOptions) -> None:
        super().bind(component, options)
        methods = [method for service in component.services for method in service.methods]
        self.codecs = {method: MethodCodec(JSON, component.name, method, Limits()) for method in methods}

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        codec = self.codecs[call.method]
        url = URL(f"{endpoint.url}/invoke")
        answer = await self.exchange(call, "POST", url, self.headers, codec.encode_request(call.arguments))
        try:
            return codec.decode_answer(answer.body)
        except CommunicationError:
            if answer.status == 200:
                raise
            text = f"{endpoint.url} answered {answer.status}"
            raise RemoteError(Code.from_http_status(answer.status), text) from None


async def test_a_channel_of_ones_own_conforms() -> None:
    """A channel class that is not installed is checked the same way, with what it has injected."""
    await check_channel("fancy", provides=[FancyChannel, Token])


@channel("shy")
class Shy(DispatchJsonChannel):
    """Believes that a call whose connection broke was not processed."""

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        try:
            return await super().invoke(call, endpoint)
        except CommunicationError as error:
            error.processed = False
            raise


@channel("deaf")
class Deaf(DispatchJsonChannel):
    """Goes on when its caller has left."""

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        self.task = asyncio.ensure_future(super().invoke(call, endpoint))
        return await asyncio.shield(self.task)

    async def aclose(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        await super().aclose()


@channel("swallowing")
class Swallowing(DispatchJsonChannel):
    """Turns a cancellation into an error."""

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        try:
            return await super().invoke(call, endpoint)
        except asyncio.CancelledError:
            raise RemoteError(Code.CANCELED, "cancelled") from None


@channel("untyped")
class Untyped(DispatchJsonChannel):
    """Returns plain data where objects are declared."""

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        return msgspec.to_builtins(await super().invoke(call, endpoint))


@channel("forgetful")
class Forgetful(DispatchJsonChannel):
    """Sends no headers."""

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        return await super().invoke(msgspec.structs.replace(call, headers={}), endpoint)


@channel("patient")
class Patient(DispatchJsonChannel):
    """Does not say how long its caller waits."""

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        return await super().invoke(msgspec.structs.replace(call, deadline=call.deadline + 60), endpoint)


@channel("flat")
class Flat(DispatchJsonChannel):
    """Makes a text of every error."""

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        try:
            return await super().invoke(call, endpoint)
        except MeshError:
            raise
        except Exception as error:
            raise RemoteError(Code.UNKNOWN, str(error)) from error


@channel("serial")
class Serial(DispatchJsonChannel):
    """Sends one call at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        async with self.lock:
            return await super().invoke(call, endpoint)


@pytest.mark.parametrize(
    ("broken", "clause"),
    [
        (Shy, "When its connection breaks"),
        (Deaf, "When its caller is cancelled"),
        (Swallowing, "When its caller is cancelled"),
        (Untyped, "Values of every type that travels arrive as they were sent"),
        (Forgetful, "The headers of a call"),
        (Patient, "how long its caller waits, arrive"),
        (Flat, "A declared exception arrives as the same class"),
        (Serial, "When their time is up|Many calls run at once"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_the_kit_notices(broken: type, clause: str) -> None:
    """A channel that breaks a clause fails with the clause's sentence and the channel's name."""
    name = broken.__name__.lower()
    with pytest.raises(AssertionError, match=clause) as found:
        await check_channel(name, provides=[broken], seconds=5.0)
    assert str(found.value).startswith(f"Channel {name!r} breaks the contract. ")


@module(components=[GreetingComponent])
class GreetingClient: ...


@pytest.mark.parametrize("name", ["dispatch-json", "dispatch-msgpack"])
async def test_a_pause_that_a_proxy_asks_for(name: str) -> None:
    """An answer that is no mesh's may say in its header when to come again."""
    parts = [b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"]
    async with answering(parts) as url:
        settings = load_settings({"registry": f"static:greeting-component={name}({url})"})
        async with Mesh(GreetingClient, settings=settings) as mesh:
            with pytest.raises(MeshError) as busy:
                await (await mesh.get_service(Greeting)).hello("you")
            assert (busy.value.code, busy.value.retry_after) == (Code.UNAVAILABLE, 7.0)


async def test_a_request_carries_no_header_that_nobody_reads() -> None:
    """What aiohttp adds by itself stays out, by a method that it does not document: so its next release is watched."""
    head = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        settings = load_settings({"registry": f"static:greeting-component=dispatch-json(http://{host}:{port})"})
        async with Mesh(GreetingClient, settings=settings) as mesh:
            with pytest.raises(MeshError, match="503"):
                await (await mesh.get_service(Greeting)).hello("you")
    names = {line.partition(b":")[0].lower() for line in bytes(head).split(b"\r\n")[1:] if line}
    assert names == {b"host", b"content-type", b"content-length", b"mesh-timeout-ms"}
