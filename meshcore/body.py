"""Reads request bodies and notices when the client leaves: the two things that ASGI's `receive` is for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, TypeAlias

from meshcore.errors import Code, LocalError
from meshcore.scope import CallScope, Stop, Stopped

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope: TypeAlias = MutableMapping[str, Any]

_LISTEN_AFTER = 0.02

# A body over the limit is read on, and thrown away, up to this multiple of it: a connection that is closed while the
# client still writes loses the answer that would have told it why.
_DISCARD = 4


class ClientLeft(Exception):  # noqa: N818 - nothing failed on this side
    """The client closed the connection before its request was complete."""


class Arriving:
    """Reads bodies, and knows until when each of them must be there.

    A timer for each would take 8 of the 210 us of a call; so somebody has to look at them now and then.
    """

    def __init__(self) -> None:
        self._deadlines: dict[CallScope, float] = {}

    async def read(self, receive: Receive, limit: int, deadline: float) -> bytes:
        """The whole body.

        Args:
            receive: of ASGI.
            limit: bytes.
            deadline: for the last of them: who sends slowly must not hold a connection and half a body for ever.

        Raises:
            LocalError: RESOURCE_EXHAUSTED, it is larger than the limit, or DEADLINE_EXCEEDED, it did not arrive in
                time.
            ClientLeft: nobody is there any more.
        """
        scope = CallScope()
        self._deadlines[scope] = deadline
        try:
            with scope:
                return await _read_body(receive, limit)
        except Stopped:
            text = "the body was not complete when the time for the call was up"
            raise LocalError(Code.DEADLINE_EXCEEDED, text) from None
        finally:
            del self._deadlines[scope]

    def expire(self, now: float) -> None:
        """Give up the bodies whose time is up."""
        for scope, deadline in self._deadlines.items():
            if deadline <= now:
                scope.stop(Stop.DEADLINE)


async def _read_body(receive: Receive, limit: int) -> bytes:
    message = await receive()
    if message["type"] != "http.request":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > limit:
            raise too_large(limit)
        return body
    # One array, not a list of chunks: of a million chunks of one byte each would take fifty.
    whole, size = bytearray(body), len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        size += len(message.get("body", b""))
        if size <= limit:
            whole += message.get("body", b"")
        elif size > _DISCARD * limit:
            break  # a client that reads no answer before it has sent that much will not read this one either
    if size > limit:
        raise too_large(limit)
    return bytes(whole)


def too_large(limit: int) -> LocalError:
    """The error of a body over the limit."""
    return LocalError(Code.RESOURCE_EXHAUSTED, f"the body is larger than {limit} bytes (setting max_body)")


class ServedScope(CallScope):
    """The scope of a served call: stopped at its deadline, and when its client leaves.

    Listening for that takes a task, which costs more than the rest of a short call's bookkeeping; so it begins only
    after 20 ms, and one timer serves both. Most calls are over by then.
    """

    __slots__ = ("_listening", "_receive")

    def __init__(self, deadline: float, receive: Receive) -> None:
        super().__init__(deadline)
        self._receive = receive
        self._listening: asyncio.Task[None] | None = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        listen_at = loop.time() + _LISTEN_AFTER
        if self._deadline <= listen_at:
            super()._arm(loop)
        else:
            self._timer = loop.call_at(listen_at, self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        super()._arm(loop)
        self._listening = loop.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.stop(Stop.CLIENT_LEFT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
        super().__exit__(kind, error, traceback)
