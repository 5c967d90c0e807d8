"""Options that several commands share, and the settings that options override."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option

if TYPE_CHECKING:
    from meshcore.core.settings import Settings

AsJson = Annotated[bool, Option("--json", help="Print JSON, for machines.")]
Channel = Annotated[str, Option(help="The channel to use, such as rest.")]
Identity = Annotated[
    str | None, Option(help="Where the certificate of this process comes from, such as files:/path or dev:.")
]
Method = Annotated[str, Argument(help="The method, as service.method.")]
ModuleOption = Annotated[
    str | None, Option(help="What declares the service, as package.module:Class. Default: servers tell.")
]
ModuleArgument = Annotated[str, Argument(help="A module, as package.module:Class.")]
Registry = Annotated[str | None, Option(help="Where instances are found, such as directory: or consul://host:8500.")]


def settings_of(context: Context, **arguments: object) -> Settings:
    """The settings, with those that were typed. None stands for an option that was not."""
    from meshcore.mesh.settings_loader import load_settings

    return load_settings({**arguments, "debug": context.obj or None})


def program_options(
    context: Context,
    *,
    debug: Annotated[bool, Option("--debug", help="Show tracebacks and detailed logs.")] = False,
) -> None:
    """Read the options in front of the command."""
    context.obj = debug
