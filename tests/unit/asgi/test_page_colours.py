"""The colours of the live page are told apart by people who see little contrast, in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshcore.asgi import page

_COLOUR = re.compile(r"--(\w+): light-dark\(#(\w{6}), #(\w{6})\)")

LEAST = {"line": 1.0, "border": 3.0}
"""Of WCAG 2.2: 3 for what is used or drawn, 4.5 for text. Lines between rows only decorate."""


def colours(theme: int) -> dict[str, str]:
    """The colours of a theme, by name."""
    text = (Path(page.__path__[0]) / "static" / "page.css").read_text(encoding="utf-8")
    return {found[1]: found[theme] for found in _COLOUR.finditer(text)}


def luminance(colour: str) -> float:
    """As WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [2, 3], ids=["light", "dark"])
def test_contrast(theme: int) -> None:
    """Of each colour on both grounds."""
    found = colours(theme)
    grounds = [luminance(found.pop(name)) for name in ("ground", "card")]
    assert len(found) > 5
    for name, colour in found.items():
        for ground in grounds:
            low, high = sorted((ground, luminance(colour)))
            assert (high + 0.05) / (low + 0.05) >= LEAST.get(name, 4.5), name
