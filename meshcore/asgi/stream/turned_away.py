"""Counts the calls that a connection itself has refused, as those that the server refuses."""

from __future__ import annotations

import msgspec

from meshcore.asgi.served_call import count_failure
from meshcore.core.caller import Peer
from meshcore.core.errors import Code
from meshcore.server.server import Server
from meshcore.wire.errors import ErrorBody
from meshcore.wire.frames import Refusal
from meshcore.wire.headers import RequestHeaders
from meshcore.wire.stream.events import TurnedAway


class _Refused(msgspec.Struct):
    """What counts of such a call. Nobody has looked its method up, as with those that the server refuses."""

    headers: RequestHeaders
    peer: Peer
    method: None = None


def count_turned_away(server: Server, event: TurnedAway, headers: RequestHeaders, peer: Peer) -> None:
    """Count a call that the connection has refused, and write its line of the access log.

    Args:
        server: of the connection.
        event: says why.
        headers: of the call.
        peer: the client.
    """
    stopping = event.refusal is Refusal.DRAINING
    server.served.refuse("stopping" if stopping else "max_unsent")
    code = Code.UNAVAILABLE if stopping else Code.RESOURCE_EXHAUSTED
    count_failure(server, _Refused(headers, peer), None, ErrorBody(code.value, event.text))
