"""Two connections of the stream protocol back to back, without a transport."""

from __future__ import annotations

from typing import Any

from meshcore.wire.stream.connection import Connection
from meshcore.wire.stream.events import Event
from meshcore.wire.stream.limits import Limits

SMALL = Limits(
    frame=1_024,
    message=6_000,
    calls=5,
    headers=16,
    header_bytes=900,
    table_entries=16,
    table_bytes=1_024,
    items=4,
    item_bytes=2_500,
    small_bytes=2_048,
    large_bytes=9_000,
    stream_bytes=13_000,
    queued=20_000,
)
"""Limits that a test meets soon."""


class Pair:
    """A client and a server, and the bytes that are on their way between them."""

    def __init__(self, client: Limits = SMALL, server: Limits = SMALL, **options: Any) -> None:
        self.now = 100.0
        self.client = Connection(client=True, now=self.now, limits=client, **options)
        self.server = Connection(client=False, now=self.now, limits=server, **options)
        self.up = bytearray()
        self.down = bytearray()

    def write(self, most: int = 4_096) -> list[Event]:
        """Both sides write once; what comes of it: first the client's events, then the server's."""
        self.up += self.client.data_to_send(most)
        self.down += self.server.data_to_send(most)
        return self.client.progress() + self.server.progress()

    def to_server(self, count: int | None = None) -> list[Event]:
        """The server reads so many bytes, or all."""
        data = bytes(self.up[:count])
        del self.up[:count]
        return self.server.feed(data, self.now)

    def to_client(self, count: int | None = None) -> list[Event]:
        """The client reads so many bytes, or all."""
        data = bytes(self.down[:count])
        del self.down[:count]
        return self.client.feed(data, self.now)

    def settle(self) -> tuple[list[Event], list[Event]]:
        """Write and read until nothing is left; the events of the client and of the server."""
        client: list[Event] = []
        server: list[Event] = []
        while self.client.pending or self.server.pending or self.up or self.down:
            self.up += self.client.data_to_send()
            client += self.client.progress()
            self.down += self.server.data_to_send()
            server += self.server.progress()
            server += self.to_server()
            client += self.to_client()
        return client, server


def ready(client: Limits = SMALL, server: Limits = SMALL, **options: Any) -> Pair:
    """A pair whose hellos have come."""
    pair = Pair(client, server, **options)
    pair.settle()
    return pair
