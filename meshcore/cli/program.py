"""The program `meshcore`: puts the commands together and runs them."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import TYPE_CHECKING

from meshcore.cli.errors import INTERRUPTED
from meshcore.core.lazy import uncollected

if TYPE_CHECKING:
    from typer import Typer

_EXTRA = {"typer", "rich", "click", "shellingham"}


def main() -> None:
    """Run the command line: the entry point `meshcore`, and `python -m meshcore.cli`."""
    try:
        with uncollected():
            app = build()
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        text = 'meshcore\'s command line needs typer and rich: pip install "meshcore-runtime[cli]"'
        print(text, file=sys.stderr)
        sys.exit(1)
    try:
        app(prog_name="meshcore")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()  # the interpreter would look through all of it twice before it ends


def build() -> Typer:
    """Make the program from its commands.

    Raises:
        ModuleNotFoundError: the extra `cli` is not installed.
    """
    importlib.import_module("rich")  # typer works without it, the commands do not
    import typer

    from meshcore.cli.commands.call import call
    from meshcore.cli.commands.cert import cert
    from meshcore.cli.commands.demo import demo
    from meshcore.cli.commands.describe import describe
    from meshcore.cli.commands.diff import diff
    from meshcore.cli.commands.ls import ls
    from meshcore.cli.commands.openapi import openapi
    from meshcore.cli.commands.options import program_options
    from meshcore.cli.commands.run import run
    from meshcore.cli.commands.tap import tap
    from meshcore.cli.commands.top import top
    from meshcore.cli.commands.why import why

    app = typer.Typer(
        help="A service mesh inside the Python process.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # `on_one_line` prints errors
    )
    app.callback()(program_options)
    for command in (run, demo, ls, top, tap, call, why, describe, openapi, diff, cert):
        app.command()(command)
    return app
