"""The reference: the same call without a mesh, as one would write it by hand for this one method.

`hypercorn benchmarks.calls.handwritten:app` serves it: bare ASGI, one path, msgspec. `HandwrittenClient` is its client:
one aiohttp session, msgspec, a time limit. Both sides decode into the types and check the status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from examples.orders.model import Item

Message = MutableMapping[str, Any]

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Item).decode

CONTENT_TYPE = "application/msgpack"
TIMEOUT = 10.0
OK = 200


async def quote(item: Item) -> Item:
    """The work."""
    return item


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] != "/quote":
        await answer(send, 404, b"")
        return
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        item = decode(body)
    except msgspec.MsgspecError:
        await answer(send, 400, b"")
        return
    await answer(send, OK, encode(await quote(item)))


async def answer(send: Callable[[Message], Awaitable[None]], status: int, body: bytes) -> None:
    """Send the whole answer."""
    headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class HandwrittenClient:
    """Calls it.

    Args:
        url: of the server.
        timeout: seconds that a call may take, None for no bound.
    """

    def __init__(self, url: str, timeout: float | None = TIMEOUT) -> None:
        self._url = f"{url}/quote"
        self._headers = {"content-type": CONTENT_TYPE}
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout), connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def quote(self, item: Item) -> Item:
        """The call."""
        async with self._session.post(self._url, data=encode(item), headers=self._headers) as response:
            response.raise_for_status()
            return decode(await response.read())
