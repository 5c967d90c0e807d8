"""Paths with placeholders (`/orders/{id}`), read by servers and written by clients.

A path is matched as it stands in the request, still quoted: only so can a value contain a slash or whatever else the
template has between two values. Each value is unquoted by itself, afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

from meshcore.codec.errors import DecodeError
from meshcore.core.errors import Code, LocalError

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_QUOTED = re.compile("%[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_IN_PATHS = "/:@!$&'()*+,;="  # what a path may contain without being quoted (RFC 3986, 3.3)


class PathTemplate:
    """One path with placeholders, prepared for both directions.

    Where a part of the path has several placeholders (`/{name}.{ending}`), the last text between them that fits divides
    them: `a.b.txt` is `a.b` and `txt`.

    Attributes:
        rank: sorts templates so that of two that match the same path the more exact comes first: for each part of the
            path 0 if it is fixed, 1 if only some of it is, 2 if it is all placeholder.
        quoted: the template with its fixed text as it stands in URLs.
        shape: the same for templates that differ only in the names of their placeholders.
    """

    def __init__(self, path: str) -> None:
        # Fixed text at even places, names at odd ones.
        pieces = _PLACEHOLDER.split(path)
        self._names = pieces[1::2]
        self._fixed = [quote(text, safe=_IN_PATHS) for text in pieces[::2]]
        self.quoted = self._fixed[0] + "".join(
            f"{{{name}}}{text}" for name, text in zip(self._names, self._fixed[1:], strict=True)
        )
        self.shape = tuple(self._fixed)
        self.rank = tuple(2 if _PLACEHOLDER.fullmatch(part) else int("{" in part) for part in path.split("/"))
        # One group for each part, however many placeholders it has: with several, an expression would try all ways to
        # divide a part, which takes seconds for some kilobytes of delimiters.
        parts = [_PLACEHOLDER.split(part)[::2] for part in self.quoted.split("/")]
        self._pattern = re.compile("/".join(map(_expression, parts)))
        self._between = [texts[1:-1] for texts in parts if len(texts) > 1]
        self._fixed_parts = tuple(texts[0] if len(texts) == 1 else None for texts in parts)

    def match(self, path: str) -> Mapping[str, str] | None:
        """The values in a path, still quoted, or None if it is another path.

        Args:
            path: from `request_path`.
        """
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        values: list[str] = []
        for text, between in zip(found.groups(), self._between, strict=True):
            divided = _divided(text, between)
            if divided is None:
                return None
            values += divided
        return dict(zip(self._names, values, strict=True))

    def may_overlap(self, other: PathTemplate) -> bool:
        """Whether a path may match both templates. Differences within a part that has a placeholder do not count."""
        mine, others = self._fixed_parts, other._fixed_parts
        return len(mine) == len(others) and all(
            one is None or two is None or one == two for one, two in zip(mine, others, strict=True)
        )

    def fill(self, values: Sequence[str]) -> str:
        """The path with these values, quoted; one for each placeholder, in their order."""
        parts = [self._fixed[0]]
        for value, text in zip(values, self._fixed[1:], strict=True):
            parts += (_quote_value(value), text)
        return "".join(parts)

    @property
    def names(self) -> Sequence[str]:
        """The names of the placeholders, in their order."""
        return self._names


def request_path(scope: Mapping[str, Any]) -> str:
    """The path of an ASGI request below where its application is mounted, quoted in the one way that templates expect.

    Two spellings that mean the same by RFC 3986 (6.2.2) become the same; what means something else quoted, as `%2F`
    does, stays quoted.
    """
    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    quoted = quote(path, safe=_IN_PATHS) if raw is None else raw.decode("latin-1")
    root: str = scope.get("root_path", "").rstrip("/")
    # As Starlette has it: behind a proxy that takes the prefix off, the path does not begin with it.
    if root and (path == root or path.startswith(f"{root}/")):
        quoted = _below(root, quoted)
    return _QUOTED.sub(_normal, quoted) if "%" in quoted else quoted


def unquote_value(value: str) -> str:
    """Unquote a value of `PathTemplate.match`.

    Raises:
        DecodeError: its bytes are no UTF-8.
    """
    if "%" not in value:
        return value
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise DecodeError("$", f"expected UTF-8, got {value!r}") from error


def quote_text(text: str) -> str:
    """Text as a value in a URL.

    Raises:
        LocalError: it contains surrogates, which no encoding has.
    """
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise LocalError(Code.INVALID_ARGUMENT, f"{text[:40]!r} has no form in a URL: {error.reason}") from error


def _expression(texts: Sequence[str]) -> str:
    """The regular expression of one part of a path, from its fixed texts, between which are its placeholders."""
    first, *others = texts
    if not others:
        return re.escape(first)
    # Possessive where nothing follows: giving characters back could not help.
    return re.escape(first) + (f"([^/]+){re.escape(others[-1])}" if others[-1] else "([^/]++)")


def _divided(text: str, between: Sequence[str]) -> list[str] | None:
    """The values in a text that are divided by these texts, none of them empty; None if it cannot be divided so."""
    values: list[str] = []
    end = len(text)
    for divider in reversed(between):
        at = text.rfind(divider, 1, end - 1)
        if at < 0:
            return None
        values.append(text[at + len(divider) : end])
        end = at
    values.append(text[:end])
    values.reverse()
    return values


def _quote_value(value: str) -> str:
    # Everything between client and server may resolve "." and ".." as relative steps, unless they are quoted.
    return quote_text(value) if value.strip(".") else "%2E" * len(value)


def _below(root: str, quoted: str) -> str:
    """What follows the root. It may be quoted in any way, so it is compared unquoted, one slash further each time."""
    at = quoted.find("/", 1)
    while at >= 0:
        if unquote(quoted[:at]) == root:
            return quoted[at:]
        at = quoted.find("/", at + 1)
    return ""


def _normal(found: re.Match[str]) -> str:
    character = chr(int(found[0][1:], 16))
    return character if character in _UNRESERVED else found[0].upper()
