"""The command line: reads what was typed, has others do it, and says in one line what went wrong."""

import asyncio
import importlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

if TYPE_CHECKING:
    from typer import Typer

    from meshcore.core.settings import Settings

_EXTRA = {"typer", "rich", "click", "shellingham"}

# Exit statuses: 1 is anything else, 2 also what typer says of arguments that it does not understand.
_LOCAL = 2
_COMMUNICATION = 3
_REMOTE = 4
_AUTHORIZATION = 5
# What a shell makes of SIGINT and SIGPIPE.
_INTERRUPTED = 130
_NOBODY_READS = 141


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
    try:
        app(prog_name="meshcore")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def build() -> "Typer":
    """The commands.

    Raises:
        ModuleNotFoundError: the extra `cli` is not installed.
    """
    importlib.import_module("rich")  # typer does without it, and we do not
    from typer import Context, Option, Typer

    app = Typer(
        help="A service mesh inside the Python process.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # errors are said in one line, see `_one_line`
    )

    @app.callback()
    def options(
        context: Context,
        *,
        debug: Annotated[bool, Option("--debug", help="Show tracebacks and detailed logs.")] = False,
    ) -> None:
        context.obj = debug

    _add_serving(app)
    _add_calling(app)
    _add_contracts(app)
    return app


_REGISTRY = "Where instances are found, such as directory: or consul://host:8500."
_JSON = "Print JSON, for machines."


def _add_serving(app: "Typer") -> None:
    """The commands that start servers."""
    from typer import Argument, Context, Option

    @app.command()
    def run(
        context: Context,
        module: Annotated[str, Argument(help="What to serve, as package.module:Class.")] = "",
        bind: Annotated[str, Option(help="Where to listen, as host:port. Port 0 takes a free one.")] = "127.0.0.1:8000",
        workers: Annotated[int, Option(min=1, help="How many processes serve.")] = 1,
        registry: Annotated[str | None, Option(help=_REGISTRY)] = None,
        advertise: Annotated[str | None, Option(help="The URL under which clients reach this process.")] = None,
        *,
        reload: Annotated[bool, Option("--reload", help="Start again when a Python file changes.")] = False,
    ) -> None:
        """Serve a module, until Ctrl-C."""
        with _one_line(debug=context.obj):
            from meshcore.cli import printing
            from meshcore.serve import logs, runner

            settings = _settings(context.obj, module=module or None, registry=registry, advertise_url=advertise)
            logs.log_to_stderr(settings.log_format, debug=settings.debug)
            say = printing.say_if_read
            if reload and workers > 1:
                _fail("--reload serves with one process; leave --workers out", _LOCAL)
            if reload:
                from meshcore.serve.reload import run_reloading

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
            from meshcore.cli.demo import story as demo

            sys.exit(demo.run(registry, fetch=fetch))


def _add_calling(app: "Typer") -> None:
    """The commands that look at servers and call them."""
    from typer import Argument, Context, Option

    registry_option = Option(help=_REGISTRY)
    json_option = Option("--json", help=_JSON)
    module_option = Option(help="What declares the service, as package.module:Class. Default: servers tell.")

    @app.command("ls")
    def list_instances(
        context: Context,
        *,
        registry: Annotated[str | None, registry_option] = None,
        watch: Annotated[bool, Option("--watch", help="Go on and show what changes, until Ctrl-C.")] = False,
        as_json: Annotated[bool, json_option] = False,
    ) -> None:
        """List what is announced: components, instances, channels, and how they are."""
        with _one_line(debug=context.obj):
            from meshcore.cli import ls as listing

            settings = _settings(context.obj, registry=registry)
            asyncio.run(listing.list_instances(settings, as_json=as_json, watch=watch))

    @app.command()
    def call(
        context: Context,
        method: Annotated[str, Argument(help="The method, as service.method.")],
        arguments: Annotated[
            list[str] | None,
            Argument(help="As name=value; a value is JSON or text. Or - for a JSON object on stdin."),
        ] = None,
        *,
        module: Annotated[str | None, module_option] = None,
        channel: Annotated[str, Option(help="The channel to use, such as rest.")] = "",
        registry: Annotated[str | None, registry_option] = None,
        timeout: Annotated[float | None, Option(help="How long the call may take.")] = None,
        repeat: Annotated[int | None, Option(min=1, help="Call N times, and print how long the calls took.")] = None,
        as_json: Annotated[bool, json_option] = False,
    ) -> None:
        """Call a method of a service, and print its result as JSON: meshcore call greeting.hello message=world."""
        with _one_line(debug=context.obj):
            from meshcore.cli import call as calling

            settings = _settings(context.obj, module=module, registry=registry, timeout=timeout)
            words = arguments or []
            if repeat is None:
                print(asyncio.run(calling.call(settings, method, words, channel, as_json=as_json)))
            else:
                asyncio.run(calling.call_repeatedly(settings, method, words, channel, repeat, as_json=as_json))

    @app.command()
    def why(
        context: Context,
        method: Annotated[str, Argument(help="The method, as service.method.")],
        *,
        module: Annotated[str | None, module_option] = None,
        channel: Annotated[str, Option(help="The channel to use, such as rest.")] = "",
        registry: Annotated[str | None, registry_option] = None,
        as_json: Annotated[bool, json_option] = False,
    ) -> None:
        """Tell which numbers govern calls of a method, who set them, and which instances may be asked."""
        with _one_line(debug=context.obj):
            from meshcore.cli import why as commands

            settings = _settings(context.obj, module=module, registry=registry)
            asyncio.run(commands.explain(settings, method, channel, as_json=as_json))


def _add_contracts(app: "Typer") -> None:
    """The commands that tell what servers promise."""
    from typer import Argument, Context, Option

    @app.command()
    def describe(
        context: Context,
        module: Annotated[str, Argument(help="A module, as package.module:Class.")] = "",
        *,
        as_json: Annotated[bool, Option("--json", help="Print what `diff` takes.")] = False,
    ) -> None:
        """Show what a module offers: services, methods, types; or everything that keeps it from starting."""
        with _one_line(debug=context.obj):
            from meshcore.cli import describe as command

            asyncio.run(command.describe(_settings(context.obj, module=module or None), as_json=as_json))

    @app.command()
    def openapi(
        context: Context, module: Annotated[str, Argument(help="A module, as package.module:Class.")] = ""
    ) -> None:
        """Print the OpenAPI document of what a module offers over REST, as servers do at /openapi.json."""
        with _one_line(debug=context.obj):
            from meshcore.cli import describe as command

            command.print_document(_settings(context.obj, module=module or None))

    @app.command()
    def diff(
        context: Context,
        old: Annotated[str, Argument(help="A module, a file of `describe --json`, or the URL of a server.")],
        new: Annotated[str, Argument(help="A module, file or URL, as for OLD.")],
        *,
        as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """List what changes for callers of OLD that meet NEW. The exit status is 1 if something breaks them."""
        with _one_line(debug=context.obj):
            from meshcore.cli import diff as command

            def settings_for(module: str) -> "Settings":
                return _settings(context.obj, module=module)

            sys.exit(0 if asyncio.run(command.diff(settings_for, old, new, as_json=as_json)) else 1)


def _settings(debug: bool, **arguments: object) -> "Settings":  # noqa: FBT001
    from meshcore.core.settings import load_settings

    return load_settings({**arguments, "debug": debug or None})


@contextmanager
def _one_line(*, debug: bool) -> Generator[None]:
    """Turn an error into one line on stderr and an exit status that tells the family."""
    from meshcore.cli import printing
    from meshcore.core.errors import AuthorizationError, CommunicationError, LocalError, MeshError

    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, since at the interpreter's end it is too late to notice a closed pipe
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:  # such as in `meshcore ls | head -1`; of the network there are none here
        printing.hush()
        sys.exit(_NOBODY_READS)
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
                what = "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
                _fail(f"{what} (meshcore --debug ... shows the traceback)", 1)


def _fail(text: str, status: int) -> NoReturn:
    print(f"meshcore: {text}", file=sys.stderr)
    sys.exit(status)
