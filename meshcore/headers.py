"""The headers of a call: their names on the wire, and a view of those that arrived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

TIMEOUT = "mesh-timeout-ms"
"""What is left of the caller's time, in whole milliseconds. Its presence says that the caller speaks this wire."""

ATTEMPT = "mesh-attempt"
"""Which attempt of the same call this is, if it is not the first."""

_LONGEST_NUMBER = 10


class RequestHeaders(Mapping[str, str]):
    """The headers of an ASGI request, decoded when asked for; names are in lower case, the first of a name counts."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        key = name.encode("latin-1")
        for found, value in self._raw:
            if found == key:
                return value.decode("latin-1")
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self._raw))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def seconds(self) -> float | None:
        """How long the caller waits, None if it does not say."""
        milliseconds = self._number(TIMEOUT)
        return None if milliseconds is None else milliseconds / 1000

    @property
    def attempt(self) -> int:
        """Which attempt this is."""
        return self._number(ATTEMPT) or 1

    def _number(self, name: str) -> int | None:
        key = name.encode()
        for found, value in self._raw:
            if found == key:
                return int(value) if value.isdigit() and len(value) <= _LONGEST_NUMBER else None
        return None
