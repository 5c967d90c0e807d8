"""Parses fixed addresses: `static:orders=dispatch-json(http://h1:8000),rest(http://h1:8000);stock=...`."""

from __future__ import annotations

import re
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from meshcore.core.instances import ChannelAddress, url_objection
from meshcore.core.masking import HIDDEN, without_secrets

_WORD = re.compile(r"[^\s=(),;]+")
_URL = re.compile(r"[^\s(),;]+")

_PORTS = {"http": 80, "https": 443}
_MAX_EXCERPT = 24  # characters


def parse_addresses(url: str) -> dict[str, list[ChannelAddress]]:
    """Return the addresses by component, in the order of the text. White space between the parts is allowed.

    The separators `= ( ) , ;` and white space are percent-encoded (`%2C`) in names, and all but `=` also in URLs.
    Names are decoded. URLs are not, since the encoded form means the same there.

    Raises:
        ValueError: the text is malformed. The message says what was expected at which character.
    """
    reader = _Reader(url)
    components: dict[str, list[ChannelAddress]] = {}
    while True:
        name = reader.component()
        if name in components:
            reader.fail(f"a component other than {name!r}, which has its addresses already", back=True)
        components[name] = [reader.address()]
        while reader.take(","):
            components[name].append(reader.address())
        if reader.ended():
            return components
        reader.demand(";", "',' and another address, ';' and another component, or the end")


class _Reader:
    """Parses the text from left to right, and keeps the position."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._start = self._word = self._position = text.index(":") + 1

    def component(self) -> str:
        name = unquote(self._match(_WORD, "a component's name"))
        self.demand("=", "'=' after the component's name")
        return name

    def address(self) -> ChannelAddress:
        channel = unquote(self._match(_WORD, "a channel, as in rest(http://host:8000)"))
        # What is read as a name may be a part of a URL, and secret.
        shown = f"channel {channel}" if without_secrets(self._text) == self._text else "that channel"
        self.demand("(", f"'(' and the URL of {shown}")
        url = self._match(_URL, f"the URL of channel {channel}")
        try:
            origin_of(url)
        except ValueError as error:
            self.fail(f"a URL, but {error}", back=True)
        self.demand(")", f"')' after {without_secrets(url)} (within a URL, ( ) , ; are written %28 %29 %2C %3B)")
        return ChannelAddress(channel, url)

    def take(self, character: str) -> bool:
        """Consume a character if it comes next."""
        self._skip()
        if not self._text.startswith(character, self._position):
            return False
        self._position += 1
        return True

    def demand(self, character: str, expected: str) -> None:
        if not self.take(character):
            self.fail(expected)

    def ended(self) -> bool:
        self._skip()
        return self._position == len(self._text)

    def fail(self, expected: str, *, back: bool = False) -> NoReturn:
        """Raise an error about what comes next, or (`back`) about the last word."""
        position = self._word if back else self._position
        shown, rest = without_secrets(self._text), self._text[position:]
        if shown != self._text and not shown.endswith(rest):  # what is left may begin within a secret
            rest = HIDDEN
        found = repr(rest if len(rest) <= _MAX_EXCERPT else rest[:_MAX_EXCERPT] + "...") if rest else "the end"
        raise ValueError(f"{self._text[: self._start]} at character {position + 1}: expected {expected}; found {found}")

    def _match(self, pattern: re.Pattern[str], expected: str) -> str:
        self._skip()
        found = pattern.match(self._text, self._position)
        if not found:
            self.fail(expected)
        self._word, self._position = found.span()
        return found[0]

    def _skip(self) -> None:
        while self._text[self._position : self._position + 1].isspace():
            self._position += 1


def origin_of(url: str) -> str:
    """Return the host and port of a URL. Each instance has its own.

    Raises:
        ValueError: the URL has no host, or is invalid.
    """
    if reason := url_objection(url):
        raise ValueError(reason)
    parts = urlsplit(url)
    if not parts.hostname:  # `url_objection` requires it of HTTP only
        raise ValueError(f"{without_secrets(url)!r} has no scheme and host, as http://host:8000 has")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port or _PORTS.get(parts.scheme)
    return f"{host}:{port}" if port else host
