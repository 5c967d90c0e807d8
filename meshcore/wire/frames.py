"""The frames of the channel `stream-msgpack`: how each looks as bytes. What may come when stands in `stream.states`.

A frame is a head of nine bytes (length of the body, kind, number of the call) and a body. All numbers are big-endian.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final


class Kind(IntEnum):
    """The kinds of frames. Three bits of the byte are flags, see `MORE`, `ITEMS` and `TRACE`."""

    HELLO = 1
    """First frame of each side: the versions, features and limits that it has."""
    DEFINE = 2
    """Adds an entry to a table of names. Number 0 empties the table first."""
    REQUEST = 3
    """Begins a call. Numbers of calls only grow."""
    ITEM = 4
    """An item of a stream."""
    END = 5
    """The last item was sent. From a server, it ends the call."""
    ANSWER = 6
    """Ends a call with its result."""
    ERROR = 7
    """Ends a call with an error. May come in the middle of another message, which it replaces."""
    REFUSED = 8
    """Ends a call that was not processed. It may be sent again anywhere."""
    CANCEL = 9
    """The caller sends no more and wants no more. The server still ends the call, if it has not."""
    DATA = 10
    """A chunk of the message that was begun with the flag MORE."""
    CREDIT = 11
    """Lets the peer send more: for a call, or for the whole connection."""
    PING = 12
    """To be answered at once by a PONG with the same body."""
    PONG = 13
    """Answers a PING."""
    GO_AWAY = 14
    """No call after the given one is accepted, none of those is processed. With another reason than DRAIN: the end."""


MORE: Final = 0x80
"""The payload comes in frames of kind DATA, of which the last is without this flag."""

ITEMS: Final = 0x40
"""Of a REQUEST: items of the caller follow, and END."""

TRACE: Final = 0x20
"""Of a REQUEST: the trace of the call stands before its headers."""


class Feature(IntFlag):
    """What not every implementation need have; used if both sides do. Unknown bits are ignored."""

    STREAMS = 1
    """Calls with items: REQUEST with the flag ITEMS, ITEM, END, CREDIT of a call."""
    TRACE = 2
    """The flag TRACE. Without it, the trace of a call stands among its headers."""


class Table(IntEnum):
    """The tables of names that a client fills at its server."""

    METHODS = 1
    """Names of methods."""
    NAMES = 2
    """Names of headers."""
    HEADERS = 3
    """Whole headers: the number of the name, and the value."""


class Reason(IntEnum):
    """Why a connection accepts no more calls."""

    DRAIN = 0
    """The server stops in order: accepted calls are still answered."""
    PROTOCOL = 1
    """A frame may not come now, or its body is malformed."""
    FRAME_SIZE = 2
    """A frame is larger than the limit."""
    CREDIT = 3
    """More was sent than there was credit for, or more credit was given than can be counted."""
    LIMIT = 4
    """A message, the headers, a table or the number of calls is beyond an announced limit."""
    TABLE = 5
    """A number that the tables of names do not have, or a definition out of order."""
    VERSION = 6
    """There is no common version, or the peer speaks another protocol."""
    FLOOD = 7
    """The peer causes more answers than it reads."""
    SILENT = 8
    """The peer did not answer a ping in time. Never sent: nobody would read it."""


class Refusal(IntEnum):
    """Why a server did not begin with a call."""

    DRAINING = 1
    """The server stops."""
    OVERLOADED = 2
    """The server has too many calls, or too many answers that nobody reads."""
    CANCELED = 3
    """The caller canceled before its request was complete."""


class ProtocolError(Exception):
    """What a peer sent breaks the protocol. It never leaves a connection, which reports it as an event.

    Attributes:
        reason: what kind of fault it is.
        text: names what is wrong.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


HEAD: Final = Struct(">IBI")
"""Length of the body, kind with flags, number of the call; 0 for frames of the connection."""

REQUEST_HEAD: Final = Struct(">IBIHIH")
"""The head of a request and the beginning of its body: see `REQUEST_BODY`."""

REQUEST_BODY: Final = Struct(">HIH")
"""Number of the method, milliseconds that the caller still waits or 0, length of the header block."""

TRACE_SIZE: Final = Struct(">H")
"""Length of the trace, which follows that: the traceparent and the tracestate."""

MAGIC: Final = b"mesh"
VERSION: Final = 1
LARGEST: Final = 2**31 - 1
"""Of credit, and of every limit that is announced."""

_HELLO = Struct(">4sBBI")
_SETTING = Struct(">BI")
_DEFINE = Struct(">BH")
_CALL_CREDIT = Struct(">II")
_CREDIT = Struct(">III")
_GO_AWAY = Struct(">BI")
LONGEST_HELLO: Final = 1024
_LONGEST_TEXT = 1000


def frame(kind: int, call: int, body: bytes = b"") -> bytes:
    """A whole frame."""
    return HEAD.pack(len(body), kind, call) + body


def hello(versions: tuple[int, int], features: int, settings: list[tuple[int, int]]) -> bytes:
    """A HELLO: lowest and highest version, features, and limits by their numbers."""
    body = _HELLO.pack(MAGIC, *versions, features) + b"".join(_SETTING.pack(*each) for each in settings)
    return frame(Kind.HELLO, 0, body)


def read_hello(body: bytes) -> tuple[tuple[int, int], int, list[tuple[int, int]]]:
    """What `hello` wrote. Bytes that are too few for another setting are an error."""
    if len(body) < _HELLO.size or (len(body) - _HELLO.size) % _SETTING.size or not body.startswith(MAGIC):
        raise ProtocolError(Reason.VERSION, f"the peer's HELLO is not one of this protocol: {body[:16]!r}")
    _, lowest, highest, features = _HELLO.unpack_from(body)
    return (lowest, highest), features, list(_SETTING.iter_unpack(body[_HELLO.size :]))


def define(table: Table, number: int, content: bytes) -> bytes:
    """A DEFINE."""
    return frame(Kind.DEFINE, 0, _DEFINE.pack(table, number) + content)


def read_define(body: bytes) -> tuple[Table, int, bytes]:
    """The table, the number of the entry, its content."""
    _need(body, _DEFINE, "DEFINE")
    table, number = _DEFINE.unpack_from(body)
    if table not in _TABLES:
        raise ProtocolError(Reason.TABLE, f"DEFINE names table {table}, which is unknown")
    return Table(table), number, body[_DEFINE.size :]


def call_credit(call: int, items: int, size: int) -> bytes:
    """A CREDIT of a call."""
    return frame(Kind.CREDIT, call, _CALL_CREDIT.pack(items, size))


def read_call_credit(body: bytes) -> tuple[int, int]:
    """Items, and bytes of items."""
    _need(body, _CALL_CREDIT, "CREDIT of a call", exactly=True)
    items, size = _CALL_CREDIT.unpack(body)
    return items, size


def credit(small: int, large: int, items: int) -> bytes:
    """A CREDIT of the connection."""
    return frame(Kind.CREDIT, 0, _CREDIT.pack(small, large, items))


def read_credit(body: bytes) -> tuple[int, int, int]:
    """Bytes of small payloads, of large ones, of items."""
    _need(body, _CREDIT, "CREDIT", exactly=True)
    small, large, items = _CREDIT.unpack(body)
    return small, large, items


def refused(call: int, refusal: Refusal, text: str) -> bytes:
    """A REFUSED."""
    return frame(Kind.REFUSED, call, bytes([refusal]) + _text(text))


def read_refused(body: bytes) -> tuple[Refusal, str]:
    """Why, and a text that says it to humans. Unknown numbers come from newer versions: they mean OVERLOADED."""
    if not body:
        raise ProtocolError(Reason.PROTOCOL, "REFUSED has an empty body")
    refusal = Refusal(body[0]) if body[0] in _REFUSALS else Refusal.OVERLOADED
    return refusal, body[1:].decode("utf-8", "replace")


def go_away(reason: Reason, last: int, text: str) -> bytes:
    """A GO_AWAY."""
    return frame(Kind.GO_AWAY, 0, _GO_AWAY.pack(reason, last) + _text(text))


def read_go_away(body: bytes) -> tuple[Reason, int, str]:
    """Why, the last call that was accepted, and a text for humans. Unknown reasons mean PROTOCOL."""
    _need(body, _GO_AWAY, "GO_AWAY")
    reason, last = _GO_AWAY.unpack_from(body)
    known = Reason(reason) if reason in _REASONS else Reason.PROTOCOL
    return known, last, body[_GO_AWAY.size :].decode("utf-8", "replace")


def name_of(kind: int) -> str:
    """How an error text calls a frame: `ITEM`, `ITEM with MORE`, `unknown kind 77`."""
    bare = kind & ~(MORE | ITEMS | TRACE)
    if bare not in _KINDS:
        return f"unknown kind {kind}"
    flags = [name for flag, name in ((MORE, "MORE"), (ITEMS, "ITEMS"), (TRACE, "TRACE")) if kind & flag]
    return f"{Kind(bare).name} with {' and '.join(flags)}" if flags else Kind(bare).name


def _text(text: str) -> bytes:
    return text[:_LONGEST_TEXT].encode("utf-8", "replace")


def _need(body: bytes, layout: Struct, what: str, *, exactly: bool = False) -> None:
    if len(body) < layout.size or (exactly and len(body) != layout.size):
        least = "" if exactly else "at least "
        raise ProtocolError(Reason.PROTOCOL, f"{what} has a body of {len(body)} bytes, not {least}{layout.size}")


_KINDS, _TABLES, _REASONS, _REFUSALS = (frozenset(map(int, each)) for each in (Kind, Table, Reason, Refusal))
