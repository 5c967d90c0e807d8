"""The command line: reads what was typed, has others do it, and says in one line what went wrong."""

import asyncio
import functools
import importlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

if TYPE_CHECKING:
    from typer import Typer

    from meshcore.settings import Settings

_EXTRA = {"typer", "rich", "click", "shellingham"}

# Exit statuses: 1 is anything else, 2 also what typer says of arguments that it does not understand.
_LOCAL = 2
_COMMUNICATION = 3
_REMOTE = 4
_AUTHORIZATION = 5


def main() -> None:
    """Run the command line: the entry point `meshcore`, and `python -m meshcore.cli`."""
    try:
        app = build()
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        text = 'meshcore\'s command line needs typer and rich: pip install "meshcore-runtime[cli]"'
        print(text, file=sys.stderr)
        sys.exit(1)
    app(prog_name="meshcore")


def build() -> "Typer":
    """The commands.

    Raises:
        ModuleNotFoundError: the extra `cli` is not installed.
    """
    importlib.import_module("rich")  # typer does without it, and we do not
    from typer import Argument, Context, Option, Typer

    app = Typer(
        help="A service mesh inside the Python process.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # errors are said in one line, see `_one_line`
    )
    registry_option = Option(help="Where instances are found, such as directory: or consul://host:8500.")
    module_option = Option(help="The module that declares the service, as package.module:Class.")

    @app.callback()
    def options(
        context: Context,
        *,
        debug: Annotated[bool, Option("--debug", help="Show tracebacks and detailed logs.")] = False,
    ) -> None:
        context.obj = debug

    @app.command()
    def run(
        context: Context,
        module: Annotated[str, Argument(help="What is served, as package.module:Class.")] = "",
        bind: Annotated[str, Option(help="host:port; port 0 takes a free one.")] = "127.0.0.1:8000",
        workers: Annotated[int, Option(min=1, help="Processes that serve.")] = 1,
        registry: Annotated[str | None, registry_option] = None,
        advertise: Annotated[str | None, Option(help="The URL under which clients reach this.")] = None,
        *,
        reload: Annotated[bool, Option("--reload", help="Start again when a Python file changes.")] = False,
    ) -> None:
        """Serve a module, until Ctrl-C."""
        with _one_line(debug=context.obj):
            from meshcore import logs, runner

            settings = _settings(context.obj, module=module or None, registry=registry, advertise_url=advertise)
            logs.log_to_stderr(settings.log_format, debug=settings.debug)
            say = functools.partial(print, flush=True)
            if reload and workers > 1:
                _fail("--reload serves with one process; leave --workers out", _LOCAL)
            if reload:
                from meshcore.reload import run_reloading

                sys.exit(run_reloading(settings, bind=bind, say=say))
            sys.exit(runner.run(settings, bind=bind, workers=workers, say=say))

    @app.command()
    def demo(
        context: Context,
        *,
        registry: Annotated[
            str, Option(help="Where the servers are found: consul starts an agent, consul://host:8500 uses one.")
        ] = "",
        fetch: Annotated[bool, Option("--fetch", help="Fetch consul from this machine's package mirror.")] = False,
    ) -> None:
        """Show the mesh at work: two servers, calls over every channel, and a server that dies meanwhile."""
        with _one_line(debug=context.obj):
            from meshcore import demo

            sys.exit(demo.run(registry, fetch=fetch))

    @app.command("ls")
    def list_instances(context: Context, registry: Annotated[str | None, registry_option] = None) -> None:
        """List what is announced."""
        with _one_line(debug=context.obj):
            from meshcore import commands

            asyncio.run(commands.list_instances(_settings(context.obj, registry=registry)))

    @app.command()
    def call(
        context: Context,
        method: Annotated[str, Argument(help="service.method")],
        arguments: Annotated[list[str] | None, Argument(help="name=value; a value is JSON or text.")] = None,
        *,
        module: Annotated[str | None, module_option] = None,
        channel: Annotated[str, Option(help="The channel to use, such as rest.")] = "",
        registry: Annotated[str | None, registry_option] = None,
        timeout: Annotated[float | None, Option(help="Seconds to wait.")] = None,
    ) -> None:
        """Call a method of a service, and print its result as JSON: meshcore call greeting.hello message=world."""
        with _one_line(debug=context.obj):
            from meshcore import commands

            settings = _settings(context.obj, module=module, registry=registry, timeout=timeout)
            print(asyncio.run(commands.call(settings, method, arguments or [], channel)))

    @app.command()
    def why(
        context: Context,
        method: Annotated[str, Argument(help="service.method")],
        *,
        module: Annotated[str | None, module_option] = None,
        channel: Annotated[str, Option(help="The channel to use, such as rest.")] = "",
        registry: Annotated[str | None, registry_option] = None,
    ) -> None:
        """Tell which numbers govern calls of a method, who set them, and which instances may be asked."""
        with _one_line(debug=context.obj):
            from meshcore import commands

            asyncio.run(commands.explain(_settings(context.obj, module=module, registry=registry), method, channel))

    @app.command()
    def describe(
        context: Context,
        module: Annotated[str, Argument(help="A module, as package.module:Class.")] = "",
        *,
        as_json: Annotated[bool, Option("--json", help="Print what `diff` takes.")] = False,
    ) -> None:
        """Show what a module offers: services, methods, types; or everything that keeps it from starting."""
        with _one_line(debug=context.obj):
            from meshcore import contract_commands

            asyncio.run(contract_commands.describe(_settings(context.obj, module=module or None), as_json=as_json))

    @app.command()
    def diff(
        context: Context,
        old: Annotated[str, Argument(help="A module, a file of `describe --json`, or the URL of a server.")],
        new: Annotated[str, Argument(help="Likewise.")],
        *,
        as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """List what changes for callers of OLD that meet NEW. The exit status is 1 if something breaks them."""
        with _one_line(debug=context.obj):
            from meshcore import contract_commands

            def settings_for(module: str) -> "Settings":
                return _settings(context.obj, module=module)

            sys.exit(0 if asyncio.run(contract_commands.diff(settings_for, old, new, as_json=as_json)) else 1)

    return app


def _settings(debug: bool, **arguments: object) -> "Settings":  # noqa: FBT001
    from meshcore.settings import load_settings

    return load_settings({**arguments, "debug": debug or None})


@contextmanager
def _one_line(*, debug: bool) -> Generator[None]:
    """Turn an error into one line on stderr and an exit status that tells the family."""
    from meshcore.errors import AuthorizationError, CommunicationError, LocalError, MeshError

    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        match error:
            case LocalError():
                _fail(error.message, _LOCAL)
            case CommunicationError():
                _fail(str(error), _COMMUNICATION)
            case AuthorizationError():
                _fail(str(error), _AUTHORIZATION)
            case MeshError():
                _fail(str(error), _REMOTE)
            case _:
                _fail(f"{type(error).__name__}: {error} (meshcore --debug ... shows the traceback)", 1)


def _fail(text: str, status: int) -> NoReturn:
    print(f"meshcore: {text}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
