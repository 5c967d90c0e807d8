"""`meshcore demo`."""

from __future__ import annotations

import sys
from typing import Annotated

from typer import Context, Option

from meshcore.cli.errors import on_one_line
from meshcore.core.lazy import uncollected


def demo(
    context: Context,
    *,
    registry: Annotated[
        str, Option(help="Where the servers are found: consul starts an agent, consul://host:8500 uses one.")
    ] = "",
    fetch: Annotated[bool, Option("--fetch", help="Fetch consul from this machine's package mirror.")] = False,
    identity: Annotated[str, Option(help="dev: mutual TLS, with certificates of the demo alone.")] = "",
    page: Annotated[bool, Option("--page", help="Go on until Ctrl-C, and show the mesh in the browser.")] = False,
) -> None:
    """Show the mesh at work: two servers, calls over every channel, and a server that is killed meanwhile."""
    with on_one_line(debug=context.obj):
        with uncollected():
            from meshcore.cli.demo import live, story

        sys.exit((live if page else story).run(registry, fetch=fetch, identity=identity))
