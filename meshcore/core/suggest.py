"""Suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 100
"""Characters. A longer name is no misspelling, and comparing it would take long."""


def shown(name: str) -> str:
    """The name in quotes, shortened if it is long."""
    return repr(name) if len(name) <= _LONGEST else f"{name[:_LONGEST]!r}... ({len(name)} characters)"


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar, None if none is similar."""
    if len(name) > _LONGEST:
        return None
    return next(iter(get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'greeting'?`, or a list of the known names if it is short, or nothing."""
    names = sorted(set(known))
    close = closest(name, names)
    if close is not None:
        return f"; did you mean {close!r}?"
    if 0 < len(names) <= 8:  # noqa: PLR2004 - a list that fits on a line
        return f"; there is {', '.join(repr(known_name) for known_name in names)}"
    return ""
