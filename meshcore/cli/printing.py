"""Prints tables for people and JSON for machines, to a terminal or a pipe."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any

import msgspec
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

_MOST_PROBLEMS = 5
"""Servers whose failure is told below a table."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise, as `print` does. The method of rich would exit with status 1."""
        raise BrokenPipeError


def printable(text: str) -> str:
    """The text without escape sequences of terminals and the like: callers choose their names."""
    return text if text.isprintable() else "".join(each if each.isprintable() or each == "\n" else " " for each in text)


class _Table(Table):
    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row of printable texts."""
        super().add_row(*map(_printable_cell, cells), **options)


def _printable_cell(cell: RenderableType | None) -> RenderableType | None:
    match cell:
        case Text():
            return Text(printable(cell.plain), cell.style)
        case str():
            return printable(cell)
        case _:
            return cell


def table(*headings: str) -> Table:
    """Make an empty table."""
    made = _Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def first_of(problems: Iterable[str]) -> list[str]:
    """The first different ones of many, and how many more there are."""
    different = list(dict.fromkeys(problems))
    more = len(different) - _MOST_PROBLEMS
    return different if more <= 0 else [*different[:_MOST_PROBLEMS], f"and {more} more like these"]


def make_console() -> Console:
    """Make a console for stdout. It has colours only on a terminal, and without NO_COLOR."""
    # A pipe has no width: lines for another program must not be cut at the default of 80 columns.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    return _Console(width=width, soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    """Print plain data or structs as JSON: indented on a terminal, else on one line."""
    data = msgspec.json.encode(value)
    if sys.stdout.isatty():
        data = msgspec.json.format(data, indent=2)
    say(data.decode())


def say(text: str) -> None:
    """Print a text and flush it.

    Raises:
        BrokenPipeError: the reader of the pipe has closed it.
    """
    print(text, flush=True)


def say_if_read(text: str) -> None:
    """Print a text unless the pipe is closed. For a process that goes on without a reader, such as a server."""
    try:
        say(text)
    except BrokenPipeError:
        discard_stdout()


def discard_stdout() -> None:
    """Redirect stdout to the null device, so that what is left in its buffer is no error at the interpreter's exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
