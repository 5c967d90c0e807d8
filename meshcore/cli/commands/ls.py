"""`meshcore ls`."""

from __future__ import annotations

from typing import Annotated

from typer import Context, Option

from meshcore.cli.commands.options import AsJson, Identity, Registry, settings_of
from meshcore.cli.errors import on_one_line
from meshcore.core.lazy import uncollected


def ls(
    context: Context,
    *,
    registry: Registry = None,
    identity: Identity = None,
    watch: Annotated[bool, Option("--watch", help="Go on and show what changes, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what is announced: components, instances, their health, and their addresses."""
    with on_one_line(debug=context.obj):
        with uncollected():
            import asyncio

            from meshcore.cli.ls import list_instances

        settings = settings_of(context, registry=registry, identity=identity)
        asyncio.run(list_instances(settings, as_json=as_json, watch=watch))
