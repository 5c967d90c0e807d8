"""`meshcore run`."""

from __future__ import annotations

import sys
from typing import Annotated

from typer import Argument, Context, Option

from meshcore.cli.commands.options import Registry, settings_of
from meshcore.cli.errors import LOCAL, fail, on_one_line
from meshcore.core.lazy import uncollected


def run(
    context: Context,
    module: Annotated[str, Argument(help="What to serve, as package.module:Class.")] = "",
    bind: Annotated[str, Option(help="Where to listen, as host:port. Port 0 takes a free one.")] = "127.0.0.1:8000",
    workers: Annotated[int, Option(min=1, help="How many processes serve. One that ends is replaced.")] = 1,
    registry: Registry = None,
    advertise: Annotated[str | None, Option(help="The URL under which clients reach this process.")] = None,
    *,
    identity: Annotated[
        str | None, Option(help="Where the certificates come from, such as dev: or files:/path. Then it serves TLS.")
    ] = None,
    reload: Annotated[bool, Option("--reload", help="Start again when a Python file changes.")] = False,
) -> None:
    """Serve a module, until Ctrl-C."""
    with on_one_line(debug=context.obj):
        from meshcore.cli.printing import say_if_read
        from meshcore.serve.logs import log_to_stderr

        settings = settings_of(
            context, module=module or None, registry=registry, advertise_url=advertise, identity=identity
        )
        log_to_stderr(settings.log_format, debug=settings.debug)
        if reload and workers > 1:
            fail("--reload serves with one process; leave --workers out", LOCAL)
        if reload:
            from meshcore.serve.reload import run_reloading, with_page

            sys.exit(run_reloading(with_page(settings), bind=bind, say=say_if_read))
        with uncollected():
            from meshcore.serve import runner

        sys.exit(runner.run(settings, bind=bind, workers=workers, say=say_if_read))
