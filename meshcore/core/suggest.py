"""Suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 100
"""Characters of a name that somebody sent: what is longer is no misspelling, and comparing it takes long."""


def shown(name: str) -> str:
    """The name in quotes, as much of it as a person reads."""
    return repr(name) if len(name) <= _LONGEST else f"{name[:_LONGEST]!r}... ({len(name)} characters)"


def closest(name: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant, if there is one."""
    if len(name) > _LONGEST:
        return None
    return next(iter(get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'greeting'?`, or what there is if it is little, or nothing."""
    names = sorted(set(known))
    close = closest(name, names)
    if close is not None:
        return f"; did you mean {close!r}?"
    if 0 < len(names) <= 8:  # noqa: PLR2004 - a list that fits on a line
        return f"; there is {', '.join(repr(known_name) for known_name in names)}"
    return ""
