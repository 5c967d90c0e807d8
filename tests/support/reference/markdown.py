"""Writes Markdown: tables, code and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def code(text: object) -> str:
    """Text as code."""
    shown = str(text)
    ticks = "`" * (max((len(found) for found in re.findall("`+", shown)), default=0) + 1)
    space = " " if "`" in shown[:1] + shown[-1:] else ""
    return f"{ticks}{space}{shown}{space}{ticks}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell(text) for text in line)} |" for line in lines)


def cell(text: str) -> str:
    """Text in a table: on one line, and with bars escaped, also inside of code, as GitHub wants it."""
    return " ".join(text.split()).replace("|", "\\|")


def sentence(text: str) -> str:
    """Text that begins with a capital letter and ends with a full stop."""
    begun = text[:1].upper() + text[1:]
    return begun if not begun or begun[-1] in ".!?:" else f"{begun}."


def block(language: str, text: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.strip()}\n```"


def paragraphs(*parts: str) -> str:
    """Parts that are divided by an empty line; empty ones are left out."""
    return "\n\n".join(part for part in parts if part)
