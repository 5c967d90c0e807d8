"""Parses Google-style docstrings, for OpenAPI documents and help texts."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Attributes|Examples?|Notes?|Todo):\s*$")
_NAMED = frozenset({"Args", "Arguments", "Parameters", "Attributes"})
_ARGUMENT = re.compile(r"^\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


class Docstring(msgspec.Struct, frozen=True):
    """The parts of a docstring.

    Attributes:
        summary: its first paragraph, on one line.
        description: the paragraphs after that, up to the first section.
        parameters: texts of the "Args" or "Attributes" section by name, each on one line.
    """

    summary: str = ""
    description: str = ""
    parameters: dict[str, str] = {}


def read_docstring(target: Any) -> Docstring:
    """The docstring of the class or function itself. Inherited ones are ignored."""
    text = vars(target).get("__doc__") if isinstance(target, type) else getattr(target, "__doc__", None)
    return parse_docstring(text or "")


def parse_docstring(text: str) -> Docstring:
    """The parts of a docstring's text."""
    prose: list[str] = []
    arguments: list[str] = []
    target_lines: list[str] | None = prose
    for line in inspect.cleandoc(text).splitlines():
        if section := _SECTION.match(line):
            target_lines = arguments if section[1] in _NAMED else None
        elif target_lines is not None:
            target_lines.append(line)
    summary, _, description = "\n".join(prose).strip().partition("\n\n")
    return Docstring(" ".join(summary.split()), description.strip(), _read_arguments(arguments))


def _read_arguments(lines: list[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    name, indent = "", 0
    for line in lines:
        match = _ARGUMENT.match(line)
        here = len(line) - len(line.lstrip())
        if match and (not name or here <= indent):
            name, indent = match[1], here
            texts[name] = match[2].strip()
        elif name and line.strip():
            texts[name] = f"{texts[name]} {line.strip()}".strip()
    return texts
