"""The headers of a call: their names on the wire, and a view of those that arrived."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import ceil

from meshcore.core.call import CALLER_KEY

TIMEOUT = "mesh-timeout-ms"
"""Whole milliseconds that the caller still waits. Whoever does not send it gets errors as texts, as aspyx-service."""

ATTEMPT = "mesh-attempt"
"""Which attempt of the same call this is: 2 for the first retry. The first attempt does not send it."""

IDEMPOTENCY_KEY = "mesh-idempotency-key"
"""The same text for all attempts of one call, for methods with `@idempotency_key`: it is executed once."""

OWN_KEY = CALLER_KEY
"""The same for a key that the caller has chosen, which may be the same in several calls: it counts instead."""

METHOD = "mesh-method"
"""The method that a REST request means: component, service and method, quoted and divided by colons. It never changes
what is executed: a server refuses a request whose path leads to something else. Sent where a path contains values."""

RETRY_AFTER = "retry-after"
"""On errors: whole seconds after which the call may come back (RFC 9110, 10.2.3)."""

_CONTROL = re.compile(r"[\r\n\0]")
_LONGEST_NUMBER = 10
_LARGEST_NUMBER = 10**_LONGEST_NUMBER - 1
_ORIGIN, _SITE = b"origin", b"sec-fetch-site"
_TIMEOUT, _ATTEMPT = TIMEOUT.encode(), ATTEMPT.encode()
_CONTENT_TYPE, _LENGTH, _CODING = b"content-type", b"content-length", b"transfer-encoding"
_CONTENT_CODING = b"content-encoding"


class RequestHeaders(Mapping[str, str]):
    """The headers of an ASGI request, decoded when asked for; names are in lower case, the first of a name counts.

    Attributes:
        content_type: as it was sent, empty if it was not.
        content_length: how many bytes the body has, None if they come in chunks.
        ambiguous: whether the request has two lengths. Then a proxy may see another end of it than this server does.
        of_browser: whether a browser sends it and says from which site. Other clients do not send these headers.
        content_coding: how the body is compressed, empty if it is not.
        seconds: how long the caller waits, None if it does not say.
        attempt: which attempt of the call this is.
    """

    __slots__ = (
        "_first",
        "_raw",
        "ambiguous",
        "attempt",
        "content_coding",
        "content_length",
        "content_type",
        "of_browser",
        "seconds",
    )

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._first = first = dict(reversed(raw))
        self.content_type = first.get(_CONTENT_TYPE, b"").decode("latin-1")
        if _CODING in first:  # who sends both counts chunks (RFC 9112, 6.3)
            self.content_length, self.ambiguous = None, _LENGTH in first
        else:
            self.content_length, self.ambiguous = _number(first.get(_LENGTH, b"")), False
        self.of_browser = _SITE in first or _ORIGIN in first
        self.content_coding = _codings(raw) if _CONTENT_CODING in first else ""
        number = _number(first.get(_TIMEOUT, b""))
        self.seconds = None if number is None else number / 1000
        self.attempt = _number(first[_ATTEMPT]) or 1 if _ATTEMPT in first else 1

    def __getitem__(self, name: str) -> str:
        try:
            return self._first[name.encode("latin-1")].decode("latin-1")
        except KeyError:
            raise KeyError(name) from None

    def all_of(self, name: str) -> list[str]:
        """The values of all headers of that name."""
        key = name.encode("latin-1")
        return [value.decode("latin-1").strip() for found, value in self._raw if found == key]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self._raw))

    def __len__(self) -> int:
        return len(self._first)


def _codings(raw: Sequence[tuple[bytes, bytes]]) -> str:
    """The codings of a body, in all headers that name some. `identity` is none."""
    values = b",".join(value for name, value in raw if name == _CONTENT_CODING).decode("latin-1")
    codings = map(str.strip, values.split(","))
    return ", ".join(each for each in codings if each.lower() not in {"", "identity"})


def check_headers(headers: Mapping[str, str]) -> None:
    """Check that headers can be sent as lines.

    Raises:
        ValueError: one contains a control character. It is named; its value may be a secret.
    """
    for name, value in headers.items():
        if _CONTROL.search(name) or _CONTROL.search(value):
            raise ValueError(f"control characters in header {name!r}")


def write_timeout(seconds: float) -> str:
    """The header for what is left of a caller's time, if that is at most 115 days; else it has this largest number."""
    return str(max(1, int(min(seconds * 1000, _LARGEST_NUMBER))))


def write_retry_after(seconds: float | None) -> list[tuple[bytes, bytes]]:
    """The header for so many seconds, rounded up; none for None."""
    return [] if seconds is None else [(RETRY_AFTER.encode(), b"%d" % ceil(min(seconds, _LARGEST_NUMBER)))]


def read_retry_after(value: str | None) -> float | None:
    """The seconds that a header says; None if there is none, or if it says a date."""
    number = _number(value.strip().encode("utf-8", "replace")) if value else None
    return None if number is None else float(number)


def _number(value: bytes) -> int | None:
    return int(value) if value.isdigit() and len(value) <= _LONGEST_NUMBER else None
