"""`meshcore diff`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context

from meshcore.cli.commands.options import AsJson, Identity, settings_of
from meshcore.cli.errors import on_one_line
from meshcore.core.lazy import uncollected

if TYPE_CHECKING:
    from meshcore.core.settings import Settings


def diff(
    context: Context,
    old: Annotated[str, Argument(help="A module, a file of `describe --json`, or the URL of a server.")],
    new: Annotated[str, Argument(help="A module, file or URL, as for OLD.")],
    *,
    identity: Identity = None,
    as_json: AsJson = False,
) -> None:
    """List what changes for callers of OLD that meet NEW. The exit status is 1 if something breaks them."""
    with on_one_line(debug=context.obj):
        with uncollected():
            import asyncio

            from meshcore.cli.diff import print_changes

        def settings_for(module: str) -> Settings:
            return settings_of(context, module=module, identity=identity)

        sys.exit(0 if asyncio.run(print_changes(settings_for, old, new, as_json=as_json)) else 1)
