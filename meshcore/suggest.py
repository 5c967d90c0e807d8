"""Suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant, if there is one."""
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
