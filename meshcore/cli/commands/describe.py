"""`meshcore describe`."""

from __future__ import annotations

from typing import Annotated

from typer import Context, Option

from meshcore.cli.commands.options import ModuleArgument, settings_of
from meshcore.cli.errors import on_one_line
from meshcore.core.lazy import uncollected


def describe(
    context: Context,
    module: ModuleArgument = "",
    *,
    as_json: Annotated[bool, Option("--json", help="Print what `diff` takes.")] = False,
) -> None:
    """Show the contract of a module: services, methods, types. Or list every problem that keeps it from starting."""
    with on_one_line(debug=context.obj):
        with uncollected():
            import asyncio

            from meshcore.cli.describe import print_contract

        asyncio.run(print_contract(settings_of(context, module=module or None), as_json=as_json))
