"""`meshcore cert`."""

from __future__ import annotations

from typing import Annotated

from typer import Context, Option

from meshcore.cli.commands.options import AsJson, Identity, settings_of
from meshcore.cli.errors import on_one_line
from meshcore.core.lazy import uncollected


def cert(
    context: Context,
    *,
    identity: Identity = None,
    module: Annotated[
        str | None, Option(help="What is served, as package.module:Class, where its components get certificates each.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the certificates of a process, the roots that it trusts, and what is wrong with them."""
    with on_one_line(debug=context.obj):
        with uncollected():
            import asyncio

            from meshcore.cli.cert import show_certificates

        settings = settings_of(context, identity=identity, module=module)
        asyncio.run(show_certificates(settings, as_json=as_json))
