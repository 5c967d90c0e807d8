"""Server-sent events, as the HTML standard of the WHATWG defines them (9.2): how they are written and read. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from meshcore.wire.streaming.streamed_bodies import FrameTooLargeError

EVENT_STREAM: Final = "text/event-stream"
"""The content type."""

COMMENT: Final = b":\n\n"
"""A comment, which readers ignore. It keeps proxies from closing a connection that is idle."""

LAST_EVENT_ID: Final = "last-event-id"
"""The header with the id of the last event that a reader got before it lost the connection."""

MESSAGE: Final = "message"
"""The name of an event that does not say one."""

_ID = "!#$&'()*+,/:;=?@[]|^`{}<>\""
"""What needs no quotes in an id, beside letters and digits."""

_EMPTY = "%"
"""The id for the empty text: an empty one would stand for no id."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event.

    Attributes:
        name: `message` if it has none.
        data: its lines, divided by line feeds.
    """

    name: str
    data: bytes


def write_event(data: bytes, name: str = "", *, key: str = "", retry: float | None = None) -> bytes:
    """One event.

    Args:
        data: may have several lines.
        name: of the event, empty for a message.
        key: its id, in ASCII without spaces; see `write_id`. Empty for none.
        retry: seconds after which a reader that loses the connection comes back.
    """
    head = f"event: {name}\n".encode() if name else b""
    if key:
        head = b"%bid: %b\n" % (head, key.encode())
    if retry is not None:
        head = b"%b%b" % (head, write_retry(retry))
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
    return b"%bdata: %b\n\n" % (head, data)


def write_retry(seconds: float) -> bytes:
    """The field that says when a reader that loses the connection comes back."""
    return b"retry: %d\n" % round(seconds * 1000)


def write_id(text: str) -> str:
    """A text as the id of an event, which its reader sends back in the header `Last-Event-ID`.

    A header cannot have line breaks, nor spaces at its ends, and is read as Latin-1 by some. So these are quoted.
    """
    return quote(text, safe=_ID) or _EMPTY


def read_id(text: str) -> str:
    """What `write_id` wrote.

    Raises:
        ValueError: it is not that.
    """
    return "" if text == _EMPTY else unquote(text, errors="strict")


class EventReader:
    """Splits a body into its events. What it has of an event whose end does not come is dropped, as the standard says.

    Args:
        limit: the bytes that an event may have.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line = bytearray()
        self._after_return = self._begun = False
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete with these bytes.

        Raises:
            FrameTooLargeError: one is larger than the limit.
        """
        if not data:
            return []
        if self._after_return:  # a line feed that follows belongs to the same line end
            data = data.removeprefix(b"\n")
        self._after_return = data.endswith(b"\r")
        parts = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events: list[Event] = []
        for part in parts[:-1]:
            self._line += part
            self._end_line(events)
        self._line += parts[-1]
        self._check()
        return events

    def _end_line(self, events: list[Event]) -> None:
        line = bytes(self._line)
        self._line.clear()
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            if self._data:
                events.append(Event(self._name or MESSAGE, b"\n".join(self._data)))
            self._name, self._data, self._size = "", [], 0
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            self._check()
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")

    def _check(self) -> None:
        if self._size + len(self._line) > self._limit + _HEAD:
            raise FrameTooLargeError


_HEAD = len("data: ") + 1
