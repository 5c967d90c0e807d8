"""One instance, as the channel `stream-msgpack` sees it: its connection, or why there is none."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import TypeAlias

import aiohttp
from yarl import URL

from meshcore.client.connections.tls_failure import is_refused_in_handshake
from meshcore.core.masking import without_secrets
from meshcore.security.tls.client_errors import ClearTextError
from meshcore.wire.stream.limits import Limits

from .stream_connection import ClientTransport, StreamConnection
from .websocket import NoStreamError, WebSocket

Dial: TypeAlias = Callable[[URL], Awaitable[ClientTransport]]

log = logging.getLogger(__name__)

ESTABLISHING = 2.5
"""Seconds for a new connection, all of it. aiohttp gives up after 2 s if nothing listens, which is another error."""

TRY_AGAIN = 30.0
"""Seconds after which a stream is tried again where there was none."""

TRY_GATEWAY_AGAIN = 1.0
"""The same, where there may be one as soon as a server is there, or goes on."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between attempts to connect where nothing listens. It doubles, with jitter."""


class StoppingError(Exception):
    """The instance is stopping, and accepts no calls any more. Nothing was sent."""


class StreamPeer:
    """One instance.

    Args:
        url: of the instance.
        stream_url: of its endpoint.
        limits: what this client accepts.
        wanted: connections.

    Attributes:
        connection: for new calls; None if there is none.
        several: whether more than one connection is wanted. Then `spread` goes before each call.
        why_not: why calls go without a stream, empty if they do not.
        socket: the unix socket that the instance has announced.
        path: the unix socket over which the connection goes, empty if it goes over TCP.
    """

    def __init__(self, url: str, stream_url: URL, limits: Limits, wanted: int = 1) -> None:
        self.connection: StreamConnection | None = None
        self.why_not = ""
        self.socket = ""
        self.path = ""
        self._url = without_secrets(url)
        self._stream_url = stream_url
        self._limits = limits
        self._connecting: asyncio.Task[None] | None = None
        self._failure: Exception | None = None  # of the last attempt, if nothing can be sent over dispatch either
        self._not_before = 0.0
        self._pause = _SHORTEST_PAUSE
        self._going = set[StreamConnection]()
        self.several = wanted > 1
        self._wanted = wanted
        self._worked = False  # so a peer that does not answer is frozen, rather than one without a stream
        self._others: list[StreamConnection] = []
        self._adding: asyncio.Task[None] | None = None
        self._add_not_before = 0.0

    @property
    def idle(self) -> bool:
        """Whether it may be forgotten."""
        connected = self.connection is not None and self.connection.usable
        busy = self._going or self._connecting or self._others or self._adding
        return not (connected or busy or self.why_not)

    async def connect(self, dial: Dial, seconds: float, *, needed: bool = False) -> StreamConnection | None:
        """Return a connection for a new call.

        Args:
            dial: opens a WebSocket.
            seconds: the longest wait.
            needed: whether the call knows no other way.

        Returns:
            None if there is no stream to this instance at the moment, though there may be a server.

        Raises:
            StoppingError: the instance is stopping.
            aiohttp.ClientError: there is no connection at all.
        """
        connection = self.connection
        if connection is not None:
            if connection.usable:
                return connection
            self._retire(connection)
        for other in tuple(self._others):
            if other.usable:
                self._others.remove(other)
                self.connection = other
                return other
            self._retire(other)
        due = time.monotonic() >= self._not_before or (needed and self._worked and self.why_not)
        if self._connecting is None and due:
            self._failure = None
            self._connecting = asyncio.create_task(
                # It outlives the call that happens to be the first. So it has none of its context variables.
                self._connect(dial),
                name="meshcore.channels.stream.connect",
                context=Context(),
            )
        # While there is no stream, it is tried beside the calls that know another way.
        if self._connecting is not None and (needed or not self.why_not):
            await asyncio.wait([self._connecting], timeout=seconds)
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        return self.connection

    def spread(self, dial: Dial) -> None:
        """Let the next call take the connection with the fewest calls, and open those that are missing meanwhile."""
        first = self.connection
        if first is None or not first.usable:
            return  # that is the matter of `connect`
        for other in tuple(self._others):
            if not other.usable:
                self._retire(other)
            elif other.calls < first.calls:
                self._others[self._others.index(other)] = first
                self.connection = first = other
        missing = len(self._others) + 1 < self._wanted
        if missing and self._adding is None and time.monotonic() >= self._add_not_before:
            self._adding = asyncio.create_task(
                self._add(dial), name="meshcore.channels.stream.connect", context=Context()
            )

    async def _add(self, dial: Dial) -> None:
        """Open one more connection. Without it calls go over the others."""
        try:
            async with asyncio.timeout(ESTABLISHING):
                connection = await self._open(dial)
        except (NoStreamError, aiohttp.ClientError, OSError, ValueError) as error:  # a timeout is an OSError
            log.info("no further connection to %s: %s", self._url, error)
            self._add_not_before = time.monotonic() + random.uniform(TRY_AGAIN, 2 * TRY_AGAIN)
        else:
            self._others.append(connection)  # if the server has told it to go away, `spread` retires it
        finally:
            self._adding = None

    def _retire(self, connection: StreamConnection) -> None:
        """Use a connection no more that is over, or that takes no more calls."""
        if connection is self.connection:
            self.connection = None
        else:
            self._others.remove(connection)
        if connection.failed and self.connection is None and not self._others:
            self._give_up(connection.failed, TRY_AGAIN)
        elif not connection.task.done():
            self._going.add(connection)
            connection.task.add_done_callback(lambda _: self._going.discard(connection))

    def _outdate(self, connection: StreamConnection) -> None:
        """Use a connection no more whose certificates are not the newest ones."""
        connection.retire()
        if connection is self.connection or connection in self._others:
            self._retire(connection)

    async def _connect(self, dial: Dial) -> None:
        """Try once. The outcome stands in the attributes."""
        try:
            async with asyncio.timeout(ESTABLISHING):
                connection = await self._open(dial)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            self._back_off(error)
        except NoStreamError as error:
            self._give_up(str(error), TRY_GATEWAY_AGAIN if error.gateway else TRY_AGAIN)
        except TimeoutError:
            seconds = TRY_GATEWAY_AGAIN if self._worked else TRY_AGAIN
            self._give_up(f"the WebSocket was not open within {ESTABLISHING:g} s", seconds)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, ClearTextError) or is_refused_in_handshake(error):  # dispatch would be as well
                self._back_off(error)
                return
            self._give_up(f"the WebSocket broke at once ({type(error).__name__})", TRY_GATEWAY_AGAIN)
        else:
            if connection.going:
                await connection.aclose()
                self._back_off(StoppingError())
                return
            if self.why_not:
                log.info("calls to %s take the stream again", self._url)
            self.why_not, self._pause = "", _SHORTEST_PAUSE
            self.connection, self._worked = connection, True
        finally:
            self._connecting = None

    async def _open(self, dial: Dial) -> StreamConnection:
        while True:
            transport = await dial(self._stream_url)
            connection = StreamConnection(transport, self._limits)
            try:
                await connection.ready()
            except BaseException:
                await connection.aclose()
                raise
            if isinstance(transport, WebSocket):
                transport.on_stale(partial(self._outdate, connection))
            if not connection.stale:  # else the certificates have changed meanwhile
                return connection

    def _back_off(self, failure: Exception) -> None:
        """Remember that nothing can be sent, for a short while, in which calls need not find that out again."""
        self.why_not, self._failure = "", failure
        self._not_before = time.monotonic() + random.uniform(self._pause / 2, self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _give_up(self, why: str, seconds: float) -> None:
        """Let calls go over dispatch, and try again after this time, or up to twice as much."""
        if not self.why_not:
            log.warning("no stream to %s: %s; calls go over dispatch-msgpack meanwhile", self._url, why)
        self.why_not = why
        self._not_before = time.monotonic() + random.uniform(seconds, 2 * seconds)

    async def aclose(self) -> None:
        """Close all connections."""
        for task in (self._connecting, self._adding):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        left = (*self._going, *self._others, *([self.connection] if self.connection else ()))
        await asyncio.gather(*(connection.aclose() for connection in left))
