"""`meshcore top`."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Context, Option

from meshcore.cli.commands.options import AsJson, Identity, Registry, settings_of
from meshcore.cli.errors import on_one_line


def top(
    context: Context,
    part: Annotated[str, Argument(help="Only methods with this in their name or in that of their component.")] = "",
    registry: Registry = None,
    identity: Identity = None,
    sort: Annotated[str, Option(help="The column to sort by: calls, success, p50, p95, p99 or name.")] = "calls",
    *,
    once: Annotated[bool, Option("--once", help="Print one table, of the calls within a second, and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is called now: calls, success and latency of each method, and who calls it. Until Ctrl-C."""
    with on_one_line(debug=context.obj):
        import asyncio

        from meshcore.cli.top import show

        settings = settings_of(context, registry=registry, identity=identity)
        asyncio.run(show(settings, part, sort, once=once, as_json=as_json))
