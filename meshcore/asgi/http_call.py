"""The base of served calls that are one HTTP request each."""

from __future__ import annotations

import msgspec

from meshcore.asgi.connection import abort_connection
from meshcore.asgi.messages import Receive, Send, discard_body
from meshcore.core.caller import Peer
from meshcore.wire.headers import RequestHeaders


class HTTPCall(msgspec.Struct):
    """The base of calls that are one HTTP request each.

    Attributes:
        headers: of the request.
        peer: the client.
        receive: of ASGI.
    """

    headers: RequestHeaders
    peer: Peer
    receive: Receive

    async def left(self) -> None:
        """Return when the client is gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def discard(self) -> None:
        """Read the body and drop it."""
        await discard_body(self.receive, self.headers.content_length)

    def cut_off(self, send: Send) -> None:
        """End the connection at once."""
        abort_connection(send)
