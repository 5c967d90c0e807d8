"""`meshcore tap`."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Context, Option

from meshcore.cli.commands.options import AsJson, Identity, Registry, settings_of
from meshcore.cli.errors import on_one_line


def tap(
    context: Context,
    target: Annotated[str, Argument(metavar="COMPONENT[.METHOD]", help="Whose calls to show, such as stock.reserve.")],
    *,
    registry: Registry = None,
    identity: Identity = None,
    failed: Annotated[bool, Option("--failed", help="Only calls that failed.")] = False,
    slow: Annotated[
        bool, Option("--slow", help="Only calls that took longer than 99 % of their method's calls.")
    ] = False,
    slower_than: Annotated[float, Option(help="Only calls that took more seconds.")] = 0.0,
    max_rps: Annotated[int, Option(help="Calls per second to show at most, of all servers together.")] = 100,
    count: Annotated[int, Option(min=0, help="End after so many calls; 0 for no end.")] = 0,
    arguments: Annotated[
        bool, Option("--arguments", help="Show arguments, where the server's setting show_arguments allows it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show calls as they end, with their attempts: those that servers serve, and those that they make. Until Ctrl-C."""
    with on_one_line(debug=context.obj):
        import asyncio

        from meshcore.cli.tap import Choice, follow

        settings = settings_of(context, registry=registry, identity=identity)
        choice = Choice(failed=failed, slow=slow, slower_than=slower_than, max_rps=max_rps, arguments=arguments)
        asyncio.run(follow(settings, target, choice, count=count, as_json=as_json))
