"""The access log: a line for each call of another process, served or refused, without its arguments."""

from __future__ import annotations

import logging
import time
from typing import Final, Protocol

from meshcore.core.caller import Peer, Proof
from meshcore.core.context.current_call import Request
from meshcore.core.description import Method
from meshcore.telemetry.conventions import OK, OTHER
from meshcore.telemetry.logs.call_fields import request_fields

log = logging.getLogger("meshcore.access")

_UNPROVEN: Final = "%(method)s from %(caller)s: %(outcome)s in %(seconds).4f s"
_PROVEN: Final = "%(method)s from %(caller)s (%(proof)s): %(outcome)s in %(seconds).4f s"


class Headers(Protocol):
    """What the headers of a request say."""

    @property
    def caller(self) -> str:
        """How the client calls itself, empty if it does not say."""
        ...

    @property
    def attempt(self) -> int:
        """Which attempt it is."""
        ...


class Logged(Protocol):
    """A call, as the access log sees it."""

    @property
    def headers(self) -> Headers:
        """Of the request."""
        ...

    @property
    def peer(self) -> Peer:
        """The client."""
        ...


def write_access(
    call: Logged, request: Request | None, method: Method | None, component: str, code: str = OK, kind: str = ""
) -> None:
    """Write the line of a call whose answer is ready, or of a stream that has ended.

    Args:
        call: the call.
        request: None if it was refused.
        method: None if it is not known, as of a call that was refused before it was read.
        component: that offers the method; empty if it is not known.
        code: `ok`, or that of its error.
        kind: the name of a declared exception.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    proven = call.peer.caller.proof
    fields = {
        "method": OTHER if method is None else str(method),
        "caller": call.peer.name(call.headers.caller) or call.peer.host,
        "proof": str(proven),
        "peer": call.peer.host,
        "outcome": kind or code,
        "code": code,
        "seconds": 0.0 if request is None else round(time.monotonic() - request.arrived, 6),
        "attempt": call.headers.attempt,
    }
    if component:
        fields["component"] = component
    if request is not None:
        fields.update(request_fields(request))
    log.info(_UNPROVEN if proven is Proof.NONE else _PROVEN, fields, extra=fields)
