"""What one side of a connection accepts. Each side announces its own; all are settings."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from meshcore.wire.frames import LARGEST, REQUEST_BODY

_MIB = 1024 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one side accepts from the other. They bound its memory for a connection.

    What a connection holds of its peer's payloads is at most `small_bytes + large_bytes + stream_bytes`, and one frame.

    Attributes:
        frame: bytes of the largest body of a frame. Larger messages come in chunks of this size.
        message: bytes of the largest payload: of a request, an answer or an item. At least `frame`.
        calls: calls in flight.
        headers: headers of a call.
        header_bytes: bytes of the headers of a call as they travel: their values, and up to four for each.
        table_entries: entries of each table of names.
        table_bytes: bytes of all entries of a table.
        items: items of a stream that may be on their way or wait for their reader.
        item_bytes: bytes of these. The item that goes beyond it is the last that is sent.
        small_bytes: bytes of payloads that come in one frame, all calls together, until their calls have ended.
        large_bytes: the same for payloads that come in chunks. At least `message`.
        stream_bytes: bytes of items that wait for their readers, all streams together. At least twice `message`.
        queued: bytes that wait to be sent. A server that has more refuses calls until its peer reads. Not announced.
    """

    frame: int = 64 * 1024
    message: int = 4 * _MIB
    calls: int = 16_384
    headers: int = 64
    header_bytes: int = 16 * 1024
    table_entries: int = 1_024
    table_bytes: int = 64 * 1024
    items: int = 256
    item_bytes: int = 256 * 1024
    small_bytes: int = 8 * _MIB
    large_bytes: int = 16 * _MIB
    stream_bytes: int = 16 * _MIB
    queued: int = 16 * _MIB

    @classmethod
    def of_message(cls, message: int, **others: int) -> Limits:
        """The default limits, changed where messages of this size ask for it. 1,024 is the least that counts."""
        default = Limits()
        message = max(message, _LEAST["frame"])
        frame = min(default.frame, message)
        fitting = {
            "frame": frame,
            "header_bytes": min(default.header_bytes, frame - REQUEST_BODY.size),
            "large_bytes": max(default.large_bytes, message),
            "stream_bytes": max(default.stream_bytes, 2 * message),
            "queued": max(default.queued, 2 * message),  # one large answer is no reason to refuse small calls
        }
        return cls(message=message, **{**fitting, **others})

    def problem(self) -> str:
        """What is wrong with these limits, empty if nothing is."""
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not least <= value <= LARGEST:
                return f"{name} is {value}, not {least} to {LARGEST}"
        for name, of, factor in _RATIOS:
            least = getattr(self, of) * factor
            if getattr(self, name) < least:
                bound = of if factor == 1 else f"{factor} times {of}"
                return f"{name} is {getattr(self, name)}, not at least {bound}, {least}"
        if self.header_bytes + REQUEST_BODY.size > self.frame:
            return f"header_bytes is {self.header_bytes}, and with {REQUEST_BODY.size} more beyond frame, {self.frame}"
        return ""


ANNOUNCED: Final = tuple(name for name in Limits.__struct_fields__ if name != "queued")
"""The limits that a HELLO carries. The number of one is its place, counted from 1: add new ones at the end."""

_LEAST: Final = {
    "frame": 1_024,
    "message": 1,
    "calls": 1,
    "headers": 0,
    "header_bytes": 0,
    "table_entries": 16,
    "table_bytes": 1_024,
    "items": 2,
    "item_bytes": 2,
    "small_bytes": 1,
    "large_bytes": 1,
    "stream_bytes": 2,
    "queued": 0,
}

# That of two limits one is at least so many times the other is what lets every message pass at last.
_RATIOS: Final = (
    ("message", "frame", 1),
    ("large_bytes", "message", 1),
    ("stream_bytes", "message", 2),
    ("small_bytes", "frame", 2),
    ("table_entries", "headers", 1),
    ("table_bytes", "header_bytes", 1),
)


def settings_of(limits: Limits) -> list[tuple[int, int]]:
    """The limits as a HELLO carries them."""
    return [(number, getattr(limits, name)) for number, name in enumerate(ANNOUNCED, start=1)]


def limits_of(settings: list[tuple[int, int]]) -> Limits:
    """The limits that a HELLO carries. Unknown ones are ignored, those that are left out have their defaults."""
    return _limits_of(tuple(settings))


@lru_cache(16)  # nearly all peers have the same: one object for them saves 0.4 KiB for each connection
def _limits_of(settings: tuple[tuple[int, int], ...]) -> Limits:
    known = {ANNOUNCED[number - 1]: value for number, value in settings if 0 < number <= len(ANNOUNCED)}
    return Limits(**known)
