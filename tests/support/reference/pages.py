"""All pages: a text with places, each of which is filled from the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from tests.support.processes import ROOT
from tests.support.reference.api import api
from tests.support.reference.command_line import command_line
from tests.support.reference.declarations import declarations, injection
from tests.support.reference.errors import errors, texts, texts_and_kinds
from tests.support.reference.numbers import policy, settings
from tests.support.reference.stream import stream
from tests.support.reference.wire import wire

FOLDER: Final = ROOT / "examples/reference"

Fill = Callable[[str], str]
"""What stands in a place, by the place's name."""

PAGES: Final[Mapping[str, Callable[[], Fill]]] = {
    "api.md": api,
    "command-line.md": command_line,
    "declarations.md": declarations,
    "errors.md": errors,
    "errors-calls.md": texts_and_kinds,
    "errors-settings.md": texts,
    "errors-start.md": texts,
    "injection.md": injection,
    "policy.md": policy,
    "settings.md": settings,
    "stream-protocol.md": stream,
    "wire.md": wire,
}

_TEXTS = Path(__file__).parent / "text"
_NOTICE = "<!-- Written from the code by `bash .dev/reference`. Change the code or the text there, not this page. -->"
_PLACE = re.compile(r"\{\{ (.+?) \}\}")


def pages() -> dict[str, str]:
    """The text of each page."""
    return {name: page(name) for name in PAGES}


@cache
def page(name: str) -> str:
    """The text of one page."""
    fill = PAGES[name]()
    title, _, text = (_TEXTS / name).read_text().partition("\n")
    filled = _PLACE.sub(lambda place: fill(place[1]), text)
    return f"{title}\n\n{_NOTICE}\n{filled}"
