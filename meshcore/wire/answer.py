"""HTTP responses before their bodies are decoded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """A complete HTTP response.

    Attributes:
        status: of HTTP.
        headers: names of any case find them.
        body: all of it.
        connecting: seconds until there was a connection, 0 if that is unknown.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    connecting: float = 0.0


class StreamedAnswer(msgspec.Struct, frozen=True):
    """An HTTP response whose body comes in chunks.

    Attributes:
        status: of HTTP.
        headers: names of any case find them.
        chunks: of the body.
    """

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
