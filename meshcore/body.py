"""Reads request bodies and notices when the client leaves: the two things that ASGI's `receive` is for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, TypeAlias

from meshcore.errors import Code, LocalError
from meshcore.scope import CallScope, Stop

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope: TypeAlias = MutableMapping[str, Any]

_WATCH_AFTER = 0.02

# A body over the limit is read on, and thrown away, up to this multiple of it: a connection that is closed while the
# client still writes loses the answer that would have told it why.
_DISCARD = 4


class ClientLeft(Exception):  # noqa: N818 - nothing failed on this side
    """The client closed the connection before its request was complete."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        LocalError: RESOURCE_EXHAUSTED, it is larger than the limit in bytes.
        ClientLeft: nobody is there any more.
    """
    message = await _receive_part(receive)
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > limit:
            raise too_large(limit)
        return body
    chunks, size = [body], len(body)
    while message.get("more_body"):
        message = await _receive_part(receive)
        size += len(message.get("body", b""))
        if size <= limit:
            chunks.append(message.get("body", b""))
        elif size > _DISCARD * limit:
            break  # a client that reads no answer before it has sent that much will not read this one either
    if size > limit:
        raise too_large(limit)
    return b"".join(chunks)


async def _receive_part(receive: Receive) -> MutableMapping[str, Any]:
    message = await receive()
    if message["type"] != "http.request":
        raise ClientLeft
    return message


def too_large(limit: int) -> LocalError:
    """The error of a body over the limit."""
    return LocalError(Code.RESOURCE_EXHAUSTED, f"the body is larger than {limit} bytes (setting max_body)")


class ClientWatch:
    """Stops a call's scope when its client leaves.

    Listening takes a task, which costs more than the rest of a short call's bookkeeping; so it begins only after 20 ms.
    Most calls are over by then and pay for a timer alone.
    """

    __slots__ = ("_receive", "_scope", "_task", "_timer")

    def __init__(self, receive: Receive, scope: CallScope) -> None:
        self._receive = receive
        self._scope = scope
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._scope.stop(Stop.CLIENT_LEFT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
