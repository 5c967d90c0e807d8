"""What a connection reports: the events that `Connection.feed` and `Connection.tick` return."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from meshcore.wire.frames import Reason, Refusal
from meshcore.wire.stream.limits import Limits


class Ready(msgspec.Struct, frozen=True, gc=False):
    """The peer's hello has come; calls may begin.

    Attributes:
        version: that both speak.
        features: that both have, as bits; see `frames.Feature`.
        limits: of the peer.
    """

    version: int
    features: int
    limits: Limits


class Requested(msgspec.Struct, gc=False):
    """Server: a call has begun, its request is complete. It ends with `answer`, `error`, `refuse` or `end`, always.

    Attributes:
        call: its number.
        method: its name.
        headers: that came with it, names in lower case as they were sent. Shared between calls, not to be changed.
        timeout: seconds that the caller still waits, None if it does not say.
        payload: the encoded arguments.
        items: whether the caller sends items; they come as `Item`, then `Ended`.
        trace: the field of the call's trace, see `wire.trace_field`; empty if there is none.
    """

    call: int
    method: str
    headers: Mapping[str, str]
    timeout: float | None
    payload: bytes
    items: bool
    trace: bytes = b""


class TurnedAway(msgspec.Struct, gc=False):
    """Server: a call was refused by the connection itself. It has ended; this is for who counts.

    Attributes:
        request: its request, without the payload.
        refusal: why.
        text: says it to humans.
    """

    request: Requested
    refusal: Refusal
    text: str


class Answered(msgspec.Struct, gc=False):
    """Client: the call has ended with a result.

    Attributes:
        call: its number.
        payload: the encoded result.
    """

    call: int
    payload: bytes


class Erred(msgspec.Struct, gc=False):
    """Client: the call has ended with an error. Whether it was processed stands in the payload.

    Attributes:
        call: its number.
        payload: an encoded `wire.errors.ErrorBody`.
    """

    call: int
    payload: bytes


class Refused(msgspec.Struct, gc=False):
    """Client: the call has ended, and was certainly not processed. It may be sent again anywhere.

    Attributes:
        call: its number.
        refusal: why.
        text: says it to humans.
    """

    call: int
    refusal: Refusal
    text: str


class Canceled(msgspec.Struct, gc=False):
    """Server: the caller has given up. The call still has to be ended; what ends it is not looked at by the caller.

    Attributes:
        call: its number.
    """

    call: int


class Item(msgspec.Struct, gc=False):
    """An item of a stream. Whoever takes it says so with `consumed`, else its writer stops.

    Attributes:
        call: the number of the call.
        payload: the encoded item.
    """

    call: int
    payload: bytes


class Ended(msgspec.Struct, gc=False):
    """The last item of a stream has come. For a client, the call has ended in order.

    Attributes:
        call: the number of the call.
    """

    call: int


class Writable(msgspec.Struct, gc=False):
    """All items of a call are on their way, after `send_item` returned False: the next ones may be made.

    Attributes:
        call: its number.
    """

    call: int


class Ponged(msgspec.Struct, gc=False):
    """The peer has answered a ping.

    Attributes:
        seconds: the round-trip time.
    """

    seconds: float


class GoneAway(msgspec.Struct, gc=False):
    """The peer stops in order and accepts no more calls. `Refused` stands before this for each that it did not accept.

    Attributes:
        text: says it to humans.
        last: the last call that was accepted, 0 if none was.
    """

    text: str
    last: int


class Failed(msgspec.Struct, gc=False):
    """The connection is over: one side broke the protocol, or the peer is dead. Write what is left, and close.

    Always the last event. `lost` says what becomes of the calls.

    Attributes:
        reason: what kind of fault it is.
        text: names what is wrong.
    """

    reason: Reason
    text: str


class Lost(msgspec.Struct, gc=False):
    """A call that was in flight when the connection broke.

    Attributes:
        call: its number.
        processed: whether an implementation may have begun with it.
    """

    call: int
    processed: bool


Event = (
    Ready
    | Requested
    | TurnedAway
    | Answered
    | Erred
    | Refused
    | Canceled
    | Item
    | Ended
    | Writable
    | Ponged
    | GoneAway
    | Failed
    | Lost
)
