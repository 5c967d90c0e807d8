"""The streams of REST: bodies that are a sequence of JSON values, as lines or as server-sent events.

Lines carry the bare items. An answer ends with an empty line, or with a line `{"$problem": ...}` that holds the problem
(RFC 9457) which ended the stream. Of events, `message` carries an item, and `end` or `error` is the last. So an answer
without either was cut off. That is not left to the framing of HTTP: a proxy that speaks HTTP/1.0 to the server, as
nginx does by default, cannot tell.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import ClassVar, Final, NamedTuple, Protocol

from meshcore.codec.codec import JSON
from meshcore.wire.streaming.event_stream import COMMENT, EVENT_STREAM, EventReader, write_event, write_retry
from meshcore.wire.streaming.streamed_bodies import CONTENT_TYPES, FrameReader

JSON_LINES: Final = CONTENT_TYPES[JSON]

END_MARK: Final = "mesh-end"
"""The header of answers whose end is marked. Those of servers that are no mesh end with their bodies."""

MARKED: Final = "marked"
"""Its value."""

_PROBLEM = b'{"$problem":'
_END, _ERROR = "end", "error"
_RETRY = (1.0, 3.0)
"""Seconds, from which each reader gets a number of its own: those of a server that stops do not come all at once."""


class Kind(Enum):
    """What a part of an answer is."""

    ITEM = "item"
    END = "end"
    PROBLEM = "problem"


class Part(NamedTuple):
    """One part of an answer that streams.

    Attributes:
        kind: what it is.
        data: the JSON of the item or the problem.
    """

    kind: Kind
    data: bytes


class PartReader(Protocol):
    """Splits the body of an answer into its parts."""

    def feed(self, data: bytes) -> Iterable[Part]:
        """The parts that are complete with these bytes.

        Raises:
            FrameTooLargeError: one is larger than the limit.
        """
        ...

    def finish(self) -> Iterable[Part]:
        """The part that the end of the body completes."""
        ...


class Form(Protocol):
    """How parts of an answer look as bytes.

    Attributes:
        content_type: of the answer.
        keyed: whether items have an id, from behind which a reader goes on that lost the connection.
        end: the last part of a stream that ended in order.
        idle: sent from time to time while there are no items, empty for nothing.
    """

    content_type: ClassVar[str]
    keyed: ClassVar[bool]
    end: ClassVar[bytes]
    idle: ClassVar[bytes]

    @staticmethod
    def begin() -> bytes:
        """What comes before the first part."""
        ...

    @staticmethod
    def item(data: bytes, key: str) -> bytes:
        """An item.

        Args:
            data: its JSON.
            key: its id, empty for none.
        """
        ...

    @staticmethod
    def problem(data: bytes, retry: float | None) -> bytes:
        """The last part of a stream that failed.

        Args:
            data: the JSON of the problem.
            retry: seconds after which the reader may come back, None if the server does not say.
        """
        ...


class Lines(Form):
    """A line of JSON for each item."""

    content_type = JSON_LINES
    keyed = False
    end = b"\n"
    idle = b""

    @staticmethod
    def begin() -> bytes:
        """Nothing."""
        return b""

    @staticmethod
    def item(data: bytes, key: str) -> bytes:  # noqa: ARG004 - the item itself says it
        """An item. One that begins as a problem gets a space, which means nothing in JSON."""
        return b"{ %b\n" % data[1:] if data.startswith(_PROBLEM) else data + b"\n"

    @staticmethod
    def problem(data: bytes, retry: float | None) -> bytes:  # noqa: ARG004 - the problem itself says it
        """The problem, in an object with one member."""
        return b"%b%b}\n" % (_PROBLEM, data)


class Events(Form):
    """An event for each item, for a browser's `EventSource`."""

    content_type = EVENT_STREAM
    keyed = True
    end = write_event(b"null", _END)
    idle = COMMENT

    @staticmethod
    def begin() -> bytes:
        """When readers come back: not all at once, and earlier than the 3 to 5 seconds that browsers wait."""
        return write_retry(random.uniform(*_RETRY)) + b"\n"

    @staticmethod
    def item(data: bytes, key: str) -> bytes:
        """An event without a name, which is a `message`."""
        return write_event(data, key=key)

    @staticmethod
    def problem(data: bytes, retry: float | None) -> bytes:
        """An event `error` with the problem. Of a connection that broke, an `error` has no data."""
        return write_event(data, _ERROR, retry=retry)


FORMS: Final[tuple[type[Form], ...]] = (Lines, Events)
"""All forms; the first one is the default."""

ACCEPT: Final = f"{JSON_LINES}, {EVENT_STREAM};q=0.9"
"""What our channel asks for."""


def choose_form(accepted: Iterable[str]) -> type[Form] | None:
    """The form that a client prefers (RFC 9110, 12.5.1), None if it takes none.

    Args:
        accepted: the values of its headers `accept`. Without any it takes everything.
    """
    ranges = [_range(each) for value in accepted for each in value.split(",") if each.strip()]
    if not ranges:
        return FORMS[0]
    rated = [(*_rate(form.content_type, ranges), form) for form in FORMS]
    quality, _, best = max(rated, key=lambda each: each[:2])
    return best if quality > 0 else None


def _range(text: str) -> tuple[str, float]:
    """A media range and its quality."""
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        return media, min(max(float(quality), 0.0), 1.0)
    except ValueError:
        return media, 1.0


def _rate(content_type: str, ranges: Iterable[tuple[str, float]]) -> tuple[float, int]:
    """The quality of a type by the range that says most about it, and how much that says."""
    levels = {content_type: 3, f"{content_type.partition('/')[0]}/*": 2, "*/*": 1}
    found = [(levels[media], quality) for media, quality in ranges if media in levels]
    level, quality = max(found, default=(0, 0.0))
    return quality, level


class LineParts(PartReader):
    """Reads lines.

    Args:
        limit: the bytes that a line may have.
        marked: whether the end is marked.
    """

    def __init__(self, limit: int, *, marked: bool) -> None:
        self._reader = FrameReader(JSON, limit, blank=True)
        self._marked = marked

    def feed(self, data: bytes) -> Iterator[Part]:
        """The parts that are complete."""
        return (part for line in self._reader.feed(data) if (part := self._part(line)) is not None)

    def finish(self) -> Iterator[Part]:
        """The last line need not be ended, if the end of the whole is not marked."""
        lines = self._reader.end()
        return iter(()) if self._marked else (part for line in lines if (part := self._part(line)) is not None)

    def _part(self, line: bytes) -> Part | None:
        if not line.strip():
            return Part(Kind.END, b"") if self._marked else None
        if line.startswith(_PROBLEM):
            return Part(Kind.PROBLEM, line.rstrip()[len(_PROBLEM) : -1])
        return Part(Kind.ITEM, line)


class EventParts(PartReader):
    """Reads events: those with other names are items, too.

    Args:
        limit: the bytes that an event may have.
    """

    def __init__(self, limit: int) -> None:
        self._reader = EventReader(limit)

    def feed(self, data: bytes) -> Iterator[Part]:
        """The parts that are complete."""
        return (Part(_KINDS.get(event.name, Kind.ITEM), event.data) for event in self._reader.feed(data))

    def finish(self) -> Iterator[Part]:
        """Nothing: an event ends with an empty line."""
        return iter(())


_KINDS = {_END: Kind.END, _ERROR: Kind.PROBLEM}


def part_reader(content_type: str, limit: int, *, marked: bool) -> PartReader:
    """What reads an answer."""
    if content_type.partition(";")[0].strip().lower() == EVENT_STREAM:
        return EventParts(limit)
    return LineParts(limit, marked=marked)
