"""How the command line prints: tables for people, JSON for machines, and nothing that a pipe would choke on."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Say it the way that `print` does; rich would exit with 1."""
        raise BrokenPipeError


def table(*headings: str) -> Table:
    """An empty table."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def make_console() -> Console:
    """Stdout. Colours are for terminals, and NO_COLOR is heard.

    What is piped into another program must not be cut at the width of a terminal that is not there.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    return _Console(width=width, soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    """Print plain data, or structs: indented for people, on one line for machines."""
    data = msgspec.json.encode(value)
    if sys.stdout.isatty():
        data = msgspec.json.format(data, indent=2)
    say(data.decode())


def say(text: str) -> None:
    """Print a text now.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    print(text, flush=True)


def say_if_read(text: str) -> None:
    """Print a text now, if somebody reads: for who goes on in any case, such as a server."""
    try:
        say(text)
    except BrokenPipeError:
        hush()


def hush() -> None:
    """Nobody reads stdout any more: what is still in its buffer must not be an error when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
