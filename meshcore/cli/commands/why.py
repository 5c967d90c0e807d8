"""`meshcore why`."""

from __future__ import annotations

from typing import Annotated

from typer import Context, Option

from meshcore.cli.commands.options import AsJson, Channel, Identity, Method, ModuleOption, Registry, settings_of
from meshcore.cli.errors import on_one_line
from meshcore.core.lazy import uncollected


def why(
    context: Context,
    method: Method,
    *,
    module: ModuleOption = None,
    channel: Channel = "",
    registry: Registry = None,
    caller: Annotated[
        str, Option("--as", help="Whether this component, SPIFFE id or `anonymous` may call it, and what says so.")
    ] = "",
    identity: Identity = None,
    as_json: AsJson = False,
) -> None:
    """Show the policy of a method, where each value comes from, and the state of each instance."""
    with on_one_line(debug=context.obj):
        with uncollected():
            import asyncio

            from meshcore.cli.why.why import explain

        settings = settings_of(context, module=module, registry=registry, identity=identity)
        asyncio.run(explain(settings, method, channel, caller, as_json=as_json))
