"""One connection of the channel `stream-msgpack` to one instance, and the calls in flight on it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf
from typing import Protocol

from meshcore.stream.driver import Driver, Transport, new_connection
from meshcore.stream.items import pass_on
from meshcore.wire.frames import Reason
from meshcore.wire.stream.events import (
    Answered,
    Ended,
    Erred,
    Event,
    Failed,
    GoneAway,
    Item,
    Lost,
    Ready,
    Refused,
    Writable,
)
from meshcore.wire.stream.limits import Limits

from .stream_calls import Outcome, StreamingCall
from .websocket import NoStreamError


class ClientTransport(Transport, Protocol):
    """The way to a server."""

    async def close(self) -> None:
        """Close it in good order, within a bounded time. It raises nothing."""


class StreamConnection:
    """One connection.

    Attributes:
        going: whether no more calls begin on it.
        stale: whether that is so since this process or the server has newer certificates.
        failed: why it has failed, if one side broke the protocol; else empty.
        longest: the bytes of the largest item that the server takes.
        task: runs it until it is over.
    """

    def __init__(self, transport: ClientTransport, limits: Limits) -> None:
        self.going = False
        self.stale = False
        self.failed = ""
        self.longest = 0
        self._transport = transport
        self._calls: dict[int, asyncio.Future[Outcome]] = {}
        self._streaming: dict[int, StreamingCall] = {}
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._machine = new_connection(client=True, limits=limits)
        self._driver = Driver(self._machine, transport, self._handle)
        self.task = self._loop.create_task(self._run(), name="meshcore.channels.stream")

    async def ready(self) -> None:
        """Return when calls may begin.

        Raises:
            NoStreamError: what answers does not speak the protocol.
        """
        await asyncio.shield(self._ready)

    @property
    def usable(self) -> bool:
        """Whether calls may begin on it, if there is room."""
        return not (self.going or self._driver.over or self._machine.exhausted)

    @property
    def calls(self) -> int:
        """How many calls are in flight."""
        return len(self._calls) + len(self._streaming)

    @property
    def room(self) -> int:
        """How many calls may begin now."""
        return self._machine.room

    def begin(
        self, path: str, payload: bytes, headers: Mapping[str, str], timeout: float
    ) -> tuple[int, asyncio.Future[Outcome]] | None:
        """Send a call.

        Returns:
            Its number and its future outcome; None if no call may begin: it is not `usable`, or has no `room`.

        Raises:
            LocalError: it cannot be sent.
        """
        if self._driver.over:
            return None
        try:
            number = self._machine.request(path, payload, headers, None if timeout == inf else timeout)
        except ValueError:  # no room. Not asked for before: that takes 0.2 us
            return None
        outcome = self._calls[number] = self._loop.create_future()
        self._driver.wake()
        return number, outcome

    def begin_streaming(
        self, path: str, payload: bytes, headers: Mapping[str, str], timeout: float, *, items: bool
    ) -> StreamingCall:
        """Send a streaming call. `leave` has to follow, in any case.

        Args:
            path: the name of the method.
            payload: the encoded arguments.
            headers: of the call.
            timeout: seconds.
            items: whether the caller sends items.

        Raises:
            LocalError: it cannot be sent.
        """
        # Not None for a call without end: what its server grants other calls would end it.
        number = self._machine.request(path, payload, headers, timeout, items=items)
        call = self._streaming[number] = StreamingCall(self._driver, number)
        self._driver.wake()
        return call

    def leave(self, call: StreamingCall) -> None:
        """Forget a streaming call, and tell the server if it has not ended."""
        del self._streaming[call.number]
        call.sent.close()
        self._machine.cancel(call.number)
        self._driver.wake()
        self._close_if_done()

    def give_up(self, number: int) -> None:
        """Tell the server that nobody waits for a call any more."""
        if self._calls.pop(number, None) is not None:
            self._machine.cancel(number)
            self._driver.wake()
            self._close_if_done()

    def _handle(self, event: Event) -> None:
        # Saves 0.1 us: nearly all events end a call with one result.
        if type(event) is Answered and (outcome := self._calls.pop(event.call, None)) is not None:
            if not outcome.done():
                outcome.set_result(event)
            if self.going:
                self._close_if_done()
            return
        match event:
            case Answered() | Erred() | Refused() | Lost() | Ended():
                self._end(event)
            case Item() | Writable():
                pass_on(event, self._streaming)
            case Ready(limits=limits):
                self.longest = limits.message
                if not self._ready.done():
                    self._ready.set_result(None)
            case GoneAway():
                self.going = True
                self._close_if_done()
            case Failed(reason=reason, text=text) if reason is not Reason.SILENT:
                self.failed = text
            case _:
                pass

    def _end(self, event: Outcome) -> None:
        outcome = self._calls.pop(event.call, None)
        if outcome is not None:
            if not outcome.done():
                outcome.set_result(event)
        elif (streaming := self._streaming.get(event.call)) is not None:
            streaming.end(event)
        if self.going:
            self._close_if_done()

    def retire(self) -> None:
        """Let no more calls begin on it, and close it when the last one has ended."""
        self.stale = self.going = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self.going and not self._machine.calls:
            why = "certificates have changed" if self.stale else "the server has told this client to go away"
            self._driver.close(why)

    async def _run(self) -> None:
        try:
            await self._driver.run()
        finally:
            if not self._ready.done():
                self._ready.set_exception(NoStreamError(self.failed or "the WebSocket was closed at once"))
                self._ready.exception()  # nobody may wait for it any more
            await self._transport.close()

    async def aclose(self) -> None:
        """Close the connection. Calls in flight end as lost."""
        self._driver.close("the mesh has stopped")
        await asyncio.wait([self.task])
