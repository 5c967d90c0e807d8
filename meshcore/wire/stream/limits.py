"""What one side of a connection accepts. Each side announces its own; all are settings."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one side accepts from the other. They bound its memory for a connection.

    What a connection may hold of its peer's payloads is at most `small_bytes + large_bytes + stream_bytes`.

    Attributes:
        frame: bytes of the largest body of a frame. Larger messages come in chunks of this size.
        message: bytes of the largest payload: of a request, an answer or an item.
        calls: calls in flight.
        headers: headers of a call.
        header_bytes: bytes of all headers of a call, names and values.
        table_entries: entries of each table of names.
        table_bytes: bytes of all entries of a table.
        items: items of a stream that may be on their way or wait for their reader.
        item_bytes: bytes of these. One item is always let through, whatever its size.
        small_bytes: bytes of payloads that come in one frame, all calls together, until their calls have ended.
        large_bytes: the same for payloads that come in chunks. At least `message`.
        stream_bytes: bytes of items that wait for their readers, all streams together. At least `message`.
        queued: bytes that wait to be sent. A server that has more refuses calls until its peer reads.
    """

    frame: int = 64 * 1024
    message: int = 4 * 1024 * 1024
    calls: int = 16_384
    headers: int = 64
    header_bytes: int = 16 * 1024
    table_entries: int = 1_024
    table_bytes: int = 64 * 1024
    items: int = 256
    item_bytes: int = 256 * 1024
    small_bytes: int = 8 * 1024 * 1024
    large_bytes: int = 16 * 1024 * 1024
    stream_bytes: int = 16 * 1024 * 1024
    queued: int = 16 * 1024 * 1024
