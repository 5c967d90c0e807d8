"""`meshcore openapi`."""

from __future__ import annotations

from typer import Context

from meshcore.cli.commands.options import ModuleArgument, settings_of
from meshcore.cli.errors import on_one_line


def openapi(context: Context, module: ModuleArgument = "") -> None:
    """Print the OpenAPI document of what a module offers over REST, as servers do at /openapi.json."""
    with on_one_line(debug=context.obj):
        import msgspec

        from meshcore.asgi.openapi.openapi import document_of
        from meshcore.cli.printing import say
        from meshcore.cli.targets import components_of
        from meshcore.serve.module_loader import load_module

        settings = settings_of(context, module=module or None)
        document = document_of(components_of(load_module(settings)), version=settings.version)
        say(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
