"""The channel `stream-msgpack`: all calls to an instance go over one connection. Where there is none, over dispatch."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

import aiohttp
from yarl import URL

from meshcore.codec.codec import Limits as DecodeLimits
from meshcore.core.call import Call, SendItem
from meshcore.core.description import ComponentDescription, Method, Shape
from meshcore.core.errors import Code, CommunicationError, MeshError, RemoteError
from meshcore.core.instances import Endpoint
from meshcore.core.masking import without_secrets
from meshcore.declare.services import channel
from meshcore.ports.channel import ChannelOptions
from meshcore.stream.unix_socket import path_here
from meshcore.wire.endpoints import STREAM
from meshcore.wire.frames import Refusal
from meshcore.wire.headers import ATTEMPT, write_caller
from meshcore.wire.stream.events import Answered, Ended, Erred, Lost, Refused
from meshcore.wire.stream.limits import Limits
from meshcore.wire.stream_codec import TOO_LARGE, StreamCodec

from .dispatch import DispatchMsgpackChannel
from .http import CONNECT_TIMEOUT, parse_url
from .http_errors import communication_error, request_too_large, too_large
from .stream_calls import Outcome, no_stream, unfit
from .stream_connection import ClientTransport, StreamConnection
from .stream_peer import StoppingError, StreamPeer
from .websocket import NoStreamError, dial, dial_alone

log = logging.getLogger(__name__)

_DISPATCH = "dispatch-msgpack"
_MANY = 256


@channel("stream-msgpack")
class StreamMsgpackChannel(DispatchMsgpackChannel):
    """Sends calls as frames on one WebSocket for each instance, and the items of streaming calls in both directions.

    An instance is found to have no stream within two seconds, and within half of the time of the call that finds it:
    it is of an older release, or a proxy does not let WebSockets pass. Its calls then go over dispatch-msgpack, at the
    same address, and the stream is tried again after a while.
    """

    streams = frozenset({Shape.SERVER_STREAM, Shape.CLIENT_STREAM, Shape.BIDIRECTIONAL})

    def bind(self, component: ComponentDescription, options: ChannelOptions) -> None:
        """Make the codecs of all methods, so that types without a codec fail now."""
        super().bind(component, options)
        limits = DecodeLimits(max_depth=options.max_depth, max_items=options.max_items)
        self._codecs: dict[Method, StreamCodec] = {
            method: StreamCodec(component.name, method, limits)
            for service in component.services
            for method in service.methods
        }
        self._peers: dict[str, StreamPeer] = {}
        self._limits = Limits.of_message(options.max_body)
        self._max_body = options.max_body
        self._caller = write_caller(options.caller)

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        """Send one call."""
        codec = self._codecs[call.method]
        payload = codec.encode_arguments(call.arguments)
        headers = call.headers if call.attempt == 1 else {**call.headers, ATTEMPT: str(call.attempt)}
        peer = self._peers.get(endpoint.url)
        if peer is not None and peer.several:
            peer.spread(partial(self._dial, peer))
        connection = None if peer is None else peer.connection
        begun = None
        # Saves 0.6 us: nearly all calls find an open connection, which itself says whether it takes them.
        if connection is not None and len(payload) <= self._max_body:
            begun = connection.begin(codec.path, payload, headers, call.deadline - time.monotonic())
        if connection is None or begun is None:
            connection = await self._connect(peer or self._peer(endpoint.url), call, endpoint)
            if connection is None:
                if call.trail:
                    call.trail[-1].channel = _DISPATCH
                return await super().invoke(call, endpoint)
            self._check(call, endpoint, connection, len(payload))
            begun = connection.begin(codec.path, payload, headers, call.deadline - time.monotonic())
            if begun is None:
                raise self._stopping(call, endpoint)
        del payload  # which would stay in memory until the answer comes
        number, outcome = begun
        try:
            found = await outcome
        except BaseException:
            connection.give_up(number)
            raise
        if isinstance(found, Answered):
            return codec.decode_payload(found.payload)
        raise self._failure(call, endpoint, codec, found)

    async def invoke_stream(self, call: Call, endpoint: Endpoint, send: SendItem) -> Any:
        """Send one streaming call. Where there is no stream, dispatch carries those in one direction."""
        codec = self._codecs[call.method]
        items, at = codec.items, call.method.stream_at
        assert items is not None  # noqa: S101 - it streams
        peer = self._peers.get(endpoint.url) or self._peer(endpoint.url)
        if peer.several:
            peer.spread(partial(self._dial, peer))
        needed = call.method.shape not in DispatchMsgpackChannel.streams
        connection = await self._connect(peer, call, endpoint, needed=needed)
        if connection is None:
            if needed:
                raise no_stream(call.method, without_secrets(endpoint.url), peer.why_not or "it was not open in time")
            if call.trail:
                call.trail[-1].channel = _DISPATCH
            return await super().invoke_stream(call, endpoint, send)
        payload = codec.encode_arguments(items.without_stream(call.arguments))
        self._check(call, endpoint, connection, len(payload))
        headers = call.headers if call.attempt == 1 else {**call.headers, ATTEMPT: str(call.attempt)}
        left = call.deadline - time.monotonic()
        streaming = connection.begin_streaming(codec.path, payload, headers, left, items=at is not None)
        try:
            sent = None if at is None else call.arguments[at]
            found = await streaming.run(items, sent, send, connection.longest)
        finally:
            connection.leave(streaming)
        if isinstance(found, Ended) and call.method.yields:
            return None
        if isinstance(found, Answered) and not call.method.yields:
            return codec.decode_payload(found.payload)
        raise self._failure(call, endpoint, codec, found)

    def _check(self, call: Call, endpoint: Endpoint, connection: StreamConnection, size: int) -> None:
        """Check that a call can begin.

        Args:
            call: that is to begin.
            endpoint: of the server.
            connection: on which.
            size: the bytes of its payload.

        Raises:
            MeshError: it cannot. Nothing was sent.
        """
        if size > self.options.max_body:
            raise request_too_large(call, size, self.options.max_body)
        if not connection.usable:
            raise self._stopping(call, endpoint)
        if not connection.room:
            text = f"{call.method}: the connection to {without_secrets(endpoint.url)} has all calls that it takes"
            raise CommunicationError(Code.RESOURCE_EXHAUSTED, text, processed=False)

    def _failure(self, call: Call, endpoint: Endpoint, codec: StreamCodec, found: Outcome) -> Exception:
        """Return what the caller gets for a call that has no result."""
        server = without_secrets(endpoint.url)
        match found:
            case Erred():
                error = codec.decode_error(found.payload)
                if isinstance(error, MeshError) and TOO_LARGE in error.details:
                    return too_large(call, self.options.max_body, "an item of the answer" if call.method.yields else "")
                return error
            case Refused():
                code = Code.RESOURCE_EXHAUSTED if found.refusal is Refusal.OVERLOADED else Code.UNAVAILABLE
                return RemoteError(code, f"{call.method}: {server}: {found.text}", processed=False)
            case Lost():
                text = f"{call.method}: no answer from {server}: the connection broke"
                return CommunicationError(Code.UNAVAILABLE, text, processed=found.processed)
            case Answered():
                return unfit(call.method, "a result came, where items were expected")
            case Ended():
                return unfit(call.method, "it has no result")

    def _stopping(self, call: Call, endpoint: Endpoint) -> RemoteError:
        text = f"{call.method}: {without_secrets(endpoint.url)}: this instance is stopping"
        return RemoteError(Code.UNAVAILABLE, text, processed=False)

    def _peer(self, url: str) -> StreamPeer:
        parse_url(url)
        if len(self._peers) >= _MANY:  # of instances that are gone
            self._peers = {each: peer for each, peer in self._peers.items() if not peer.idle}
        found = self._peers[url] = StreamPeer(
            url, URL(url.rstrip("/") + STREAM), self._limits, self.options.connections
        )
        return found

    async def _connect(
        self, peer: StreamPeer, call: Call, endpoint: Endpoint, *, needed: bool = False
    ) -> StreamConnection | None:
        began = time.monotonic()
        self.check_open(call)  # calls that are cut off by the stop may be sent again
        self.session(call)
        peer.socket = endpoint.socket
        try:
            seconds = min(CONNECT_TIMEOUT, (call.deadline - began) / 2)
            return await peer.connect(partial(self._dial, peer), seconds, needed=needed)
        except StoppingError:
            raise self._stopping(call, endpoint) from None
        except aiohttp.ClientError as error:
            raise communication_error(call, URL(endpoint.url), error) from error
        finally:
            if call.trail:
                call.trail[-1].connecting = time.monotonic() - began

    async def _dial(self, peer: StreamPeer, url: URL) -> ClientTransport:
        """Open a connection, over the unix socket of the instance if this process sees it."""
        # What comes over a unix socket proves nothing, so whoever has an identity takes the port.
        path = path_here(peer.socket) if peer.socket and self.options.tls is None else ""
        if path:
            connector = aiohttp.UnixConnector(path=path)
            session = self.make_session(connector=connector)
            # Advice may have set another connector, whose way is taken then.
            peer.path = path if session.connector is connector else ""
            try:
                return await dial_alone(session, url, self._caller)
            except (NoStreamError, aiohttp.ClientError, OSError) as error:
                log.info("no connection over the unix socket %s: %s; the port is taken", path, error)
        peer.path = ""
        return await self.dial(url)

    async def dial(self, url: URL) -> ClientTransport:
        """Open a connection to the endpoint of an instance. Around advice on this method can replace the network.

        Raises:
            NoStreamError: what answers there has no such WebSocket.
            aiohttp.ClientError: there is no connection.
            OSError: likewise.
        """
        if self._session is None:
            raise aiohttp.ClientConnectionError("the mesh has stopped")
        return await dial(self._session, url, self._caller, self.request_options(url))

    def remark(self, endpoint: Endpoint) -> str:
        """Say why the calls to an instance take no stream, or that they go over a unix socket."""
        peer = self._peers.get(endpoint.url)
        if peer is None:
            return ""
        if peer.why_not:
            return f"over {_DISPATCH}: {peer.why_not}"
        return f"over the unix socket {peer.path}" if peer.path and peer.connection is not None else ""

    async def aclose(self) -> None:
        """Close all connections, at once: an instance that hangs takes its time."""
        self._closed = True
        await asyncio.gather(*(peer.aclose() for peer in self._peers.values()))
        await super().aclose()
