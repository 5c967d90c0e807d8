"""What one side of a connection knows of a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from meshcore.wire.stream.states import State


class Request(msgspec.Struct, gc=False, eq=False):
    """A request that is not complete yet, at its server.

    Attributes:
        method: its name.
        timeout: seconds, None without end.
        headers: of the request.
        items: whether items follow.
        trace: see `wire.trace_field`; empty if there is none.
    """

    method: str
    timeout: float | None
    headers: Mapping[str, str]
    items: bool
    trace: bytes


class Partial(msgspec.Struct, gc=False, eq=False):
    """A message of which some chunks have come.

    Attributes:
        kind: of its first frame, without flags.
        chunks: that came. A bytearray grows by a share of itself, so no byte is copied more than a few times.
        request: what the first frame of a request says.
    """

    kind: int
    chunks: bytearray
    request: Request | None = None


class Outgoing(msgspec.Struct, gc=False, eq=False):
    """A message that waits, or of which some chunks were sent.

    Attributes:
        kind: of its first frame; DATA once that was sent, and chunks follow.
        payload: all of it.
        at: how much of it was sent.
        lane: from which its credit was taken, None while it waits for some.
    """

    kind: int
    payload: bytes
    at: int = 0
    lane: int | None = None


class Stream(msgspec.Struct, gc=False, eq=False):
    """The credit for items of one call, in both directions.

    Attributes:
        items: that may be sent. `bytes`: of them; what goes beyond it is owed.
        left: items that the peer may send. `left_bytes`: of them.
        read: items that were consumed since the peer last got credit. `read_bytes`: of them.
        unread: bytes of items that came and were not consumed.
        told: whether `send_item` has told its caller to wait.
    """

    items: int
    bytes: int
    left: int
    left_bytes: int
    read: int = 0
    read_bytes: int = 0
    unread: int = 0
    told: bool = False


class Call(msgspec.Struct, gc=False, eq=False):
    """A call, at its client or at its server.

    Attributes:
        number: that it has on the wire.
        ours: what this side has sent.
        theirs: what the peer has sent.
        held: bytes of its request at the server, in one frame. `held_large`: in chunks.
        plain: whether its request is complete in one frame and nothing else has happened: no items, no cancellation.
            One look at this replaces all others for most calls.
        stream: credit for its items, once there is one.
        queue: messages that wait, the first perhaps in part.
        partial: a message that comes in chunks.
        ending: whether this side has said all that it will; what waits is still sent.
        deaf: whether what comes for it is dropped: it was canceled, or its server has ended it.
    """

    number: int
    ours: State
    theirs: State
    held: int = 0
    plain: bool = False
    held_large: int = 0
    stream: Stream | None = None
    queue: deque[Outgoing] | None = None
    partial: Partial | None = None
    ending: bool = False
    deaf: bool = False
