"""The headers of a call: their names on the wire, and a view of those that arrived."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import ceil

from meshcore.core.call import CALLER_KEY
from meshcore.core.context.current_call import TRACE_HEADERS

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

CALLER = "mesh-caller"
"""How the caller calls itself, for what is counted of it. It proves nothing. It is sent with streaming calls, and once
for each connection of the stream channel; other calls over HTTP would pay for it each time."""

RETRY_AFTER = "retry-after"
"""On errors: whole seconds after which the call may come back (RFC 9110, 10.2.3)."""

_CONTROL = re.compile(r"[\r\n\0]")
_LONGEST_CALLER = 100
_LONGEST_NUMBER = 10
_LARGEST_NUMBER = 10**_LONGEST_NUMBER - 1
_ORIGIN, _SITE = b"origin", b"sec-fetch-site"
_TIMEOUT, _ATTEMPT, _CALLER = TIMEOUT.encode(), ATTEMPT.encode(), CALLER.encode()
_CONTENT_TYPE, _LENGTH, _CODING = b"content-type", b"content-length", b"transfer-encoding"
_CONTENT_CODING = b"content-encoding"
_TRACE = frozenset(name.encode() for name in TRACE_HEADERS)
_READ = frozenset(
    {_ORIGIN, _SITE, _TIMEOUT, _ATTEMPT, _CALLER, _CONTENT_TYPE, _LENGTH, _CODING, _CONTENT_CODING, *_TRACE}
)


class RequestHeaders(Mapping[str, str]):
    """The headers of an ASGI request, decoded when asked for; names are in lower case, the first of a name counts.

    Attributes:
        content_type: as it was sent, empty if it was not.
        content_length: how many bytes the body has, None if they come in chunks.
        ambiguous: whether the request has two lengths. Then a proxy may see another end of it than this server does.
        of_browser: whether a browser sends it and says from which site. Other clients do not send these headers.
        content_coding: how the body is compressed, empty if it is not.
        rare: whether a header was sent that these three or the attempt are read from. Most requests have none.
        trace: the headers of a trace that were sent, None if none was.
        seconds: how long the caller waits, None if it does not say.
        attempt: which attempt of the call this is.
        caller: how the caller calls itself, empty if it does not say.
    """

    __slots__ = (
        "_first",
        "_raw",
        "ambiguous",
        "attempt",
        "caller",
        "content_coding",
        "content_length",
        "content_type",
        "of_browser",
        "rare",
        "seconds",
        "trace",
    )

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._first: dict[bytes, bytes] | None = None
        # One pass, and no dict until somebody asks for more: that saves 0.4 of 1.7 us.
        content_type = length = timeout = caller = b""
        rare = False
        trace: list[tuple[bytes, bytes]] | None = None
        for name, value in reversed(raw):
            if name in _READ:
                if name == _LENGTH:
                    length = value
                elif name == _CONTENT_TYPE:
                    content_type = value
                elif name == _TIMEOUT:
                    timeout = value
                elif name == _CALLER:
                    caller = value
                elif name in _TRACE:
                    trace = [(name, value), *(trace or ())]
                else:
                    rare = True
        self.content_type = content_type.decode("latin-1")
        self.caller = _text(caller[:_LONGEST_CALLER]) if caller else ""
        self.content_length = _digits(length) if len(length) <= _LONGEST_NUMBER else None
        number = _digits(timeout) if len(timeout) <= _LONGEST_NUMBER else None
        self.seconds = None if number is None else number / 1000
        self.ambiguous = self.of_browser = False
        self.content_coding, self.attempt = "", 1
        self.rare = rare
        self.trace = trace
        if rare:
            self._read_rare()

    def in_trace(self, trace: list[tuple[bytes, bytes]]) -> RequestHeaders:
        """The same headers with those of a trace, which were read by themselves."""
        made = RequestHeaders.__new__(RequestHeaders)  # to read all anew would take 2 us
        made._raw = [*trace, *self._raw]  # noqa: SLF001 - of this class
        made._first = None  # noqa: SLF001 - likewise
        made.ambiguous, made.attempt, made.caller = self.ambiguous, self.attempt, self.caller
        made.content_coding, made.content_length = self.content_coding, self.content_length
        made.content_type, made.of_browser, made.rare = self.content_type, self.of_browser, self.rare
        made.seconds = self.seconds
        made.trace = trace if self.trace is None else [*trace, *self.trace]
        return made

    def _read_rare(self) -> None:
        first = self._by_name()
        if _CODING in first:  # who sends both counts chunks (RFC 9112, 6.3)
            self.content_length, self.ambiguous = None, _LENGTH in first
        self.of_browser = _SITE in first or _ORIGIN in first
        if _CONTENT_CODING in first:
            self.content_coding = _codings(self._raw)
        if _ATTEMPT in first:
            self.attempt = _number(first[_ATTEMPT]) or 1

    def _by_name(self) -> dict[bytes, bytes]:
        if self._first is None:
            self._first = dict(reversed(self._raw))
        return self._first

    def __getitem__(self, name: str) -> str:
        try:
            return self._by_name()[name.encode("latin-1")].decode("latin-1")
        except KeyError:
            raise KeyError(name) from None

    def all_of(self, name: str) -> list[str]:
        """The values of all headers of that name."""
        key = name.encode("latin-1")
        return [value.decode("latin-1").strip() for found, value in self._raw if found == key]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self._raw))

    def __len__(self) -> int:
        return len(self._by_name())


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


def write_caller(name: str) -> dict[str, str]:
    """The header with which a caller calls itself so; none for an empty name. Other characters become `?`."""
    text = _plain(name[:_LONGEST_CALLER]).strip()
    return {CALLER: text} if text else {}


def write_retry_after(seconds: float | None) -> list[tuple[bytes, bytes]]:
    """The header for so many seconds, rounded up; none for None."""
    return [] if seconds is None else [(RETRY_AFTER.encode(), b"%d" % ceil(min(seconds, _LARGEST_NUMBER)))]


def read_retry_after(value: str | None) -> float | None:
    """The seconds that a header says; None if there is none, or if it says a date."""
    number = _number(value.strip().encode("utf-8", "replace")) if value else None
    return None if number is None else float(number)


def _number(value: bytes) -> int | None:
    return _digits(value) if len(value) <= _LONGEST_NUMBER else None


@lru_cache(maxsize=64)  # the same callers recur, and whoever counts them finds the same object again
def _text(value: bytes) -> str:
    return _plain(value.decode("latin-1"))


def _plain(text: str) -> str:
    """What can be written on a line: a header of the stream channel may have line ends, and the name stands in logs."""
    return "".join(each if each.isprintable() and each.isascii() else "?" for each in text)


@lru_cache(maxsize=1024)  # the same lengths and times recur; to convert both of a call takes 0.4 us
def _digits(value: bytes) -> int | None:
    return int(value) if value.isdigit() else None
