"""The command line: reads what was typed, has others do it, and says in one line what went wrong."""

import asyncio
import functools
import importlib
import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

if TYPE_CHECKING:
    from typer import Typer

    from meshcore.interface import ComponentDescription, Method, Parameter, ServiceDescription
    from meshcore.settings import Settings

_EXTRA = {"typer", "rich", "click", "shellingham"}

# Exit statuses: 1 is anything else, 2 also what typer says of arguments that it does not understand.
_LOCAL = 2
_COMMUNICATION = 3
_REMOTE = 4
_AUTHORIZATION = 5


_LOOK = 2.0
"""Seconds in which a registry that knows an instance has told it."""


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
    ) -> None:
        """Serve a module, until Ctrl-C."""
        with _one_line(debug=context.obj):
            from meshcore import runner

            settings = _settings(context.obj, module=module or None, registry=registry, advertise_url=advertise)
            runner.log_to_stderr(debug=settings.debug)
            sys.exit(runner.run(settings, bind=bind, workers=workers, say=functools.partial(print, flush=True)))

    @app.command()
    def demo(context: Context) -> None:
        """Show the mesh at work: two servers, calls over every channel, and a server that dies meanwhile."""
        with _one_line(debug=context.obj):
            from meshcore import demo

            sys.exit(demo.run())

    @app.command("ls")
    def list_instances(context: Context, registry: Annotated[str | None, registry_option] = None) -> None:
        """List what is announced."""
        with _one_line(debug=context.obj):
            asyncio.run(_list(_settings(context.obj, registry=registry)))

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
            settings = _settings(context.obj, module=module, registry=registry, timeout=timeout)
            print(asyncio.run(_call(settings, method, arguments or [], channel)))

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
            asyncio.run(_why(_settings(context.obj, module=module, registry=registry), method, channel))

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


async def _why(settings: "Settings", typed: str, channel: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from meshcore.errors import CommunicationError
    from meshcore.mesh import Mesh

    client, service, method = _client_of(settings, typed)
    async with Mesh(client, settings=settings) as mesh:
        with suppress(CommunicationError):  # the explanation says so
            await mesh.wait_for(service.interface, timeout=_LOOK)
        found = mesh.why(service.interface, method.name, channel)
    console = Console(width=_width(), soft_wrap=True, highlight=False)
    console.print(f"{found.method} of {found.component}, over {found.channel or 'no channel'}: {found.choice}")
    rules = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("rule", "value", "from"):
        rules.add_column(heading, no_wrap=True)
    for name, (value, source) in found.rules.items():
        rules.add_row(name, str(value), source)
    console.print(rules)
    if found.problem:
        console.print(found.problem)
        return
    instances = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("instance", "url", "zone", "weight", "state"):
        instances.add_column(heading, no_wrap=True)
    for each in found.instances:
        instances.add_row(each.instance, each.url, each.zone, str(each.weight), each.state)
    console.print(instances)


def _width() -> int:
    """What is piped into another program must not be cut at the width of a terminal that is not there."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000


async def _list(settings: "Settings") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from meshcore.adapters import make_registry
    from meshcore.errors import ConfigurationError

    try:
        registry = make_registry(settings.registry)
    except ValueError as error:
        raise ConfigurationError("setting registry", [str(error)]) from None
    async with registry:
        found = await registry.instances()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("component", "instance", "channel", "url"):
        table.add_column(heading, no_wrap=True)
    for component, instances in sorted(found.items()):
        for instance in instances:
            for address in instance.addresses:
                table.add_row(component, instance.id, address.channel, address.url)
    if not table.row_count:
        print(f"nothing is announced in {settings.registry}", file=sys.stderr)
        return
    Console(width=_width(), soft_wrap=True).print(table)


async def _call(settings: "Settings", typed: str, texts: Sequence[str], channel: str) -> str:
    """Call what was typed; the result as JSON."""
    import anyio.to_thread
    import msgspec

    from meshcore.codec import JSON
    from meshcore.errors import Code, RemoteError
    from meshcore.mesh import Mesh

    client, service, method = _client_of(settings, typed)
    positional, named = _read_arguments(method, texts)
    async with Mesh(client, settings=settings) as mesh:
        function = getattr(await mesh.get_service(service.interface, channel), method.name)
        try:
            if method.is_async:
                result = await function(*positional, **named)
            else:
                result = await anyio.to_thread.run_sync(functools.partial(function, *positional, **named))
        except method.raises as error:  # what is declared is an answer, too
            code = getattr(error, "code", Code.FAILED_PRECONDITION)
            raise RemoteError(code, f"{type(error).__name__}: {error}") from error
    return msgspec.json.format(JSON.encoder(method.returns)(result), indent=2).decode()


def _client_of(settings: "Settings", typed: str) -> "tuple[type, ServiceDescription, Method]":
    """A module for a client, and the method that it is to call."""
    from meshcore.app import load_module
    from meshcore.errors import ConfigurationError
    from meshcore.injection import module

    if not settings.module:
        text = "say which module declares the service: --module package.module:Class, or MESHCORE_MODULE"
        raise ConfigurationError(f"cannot call {typed!r}", [text])
    components = _components(load_module(settings))
    service, method = _find([service for component in components for service in component.services], typed)
    # Only what is declared, without the implementations: those run elsewhere.
    client = module(components=[component.interface for component in components])(type("Client", (), {}))
    return client, service, method


def _components(module_class: type) -> "list[ComponentDescription]":
    """The components that a module implements or names."""
    from meshcore.catalog import Catalog
    from meshcore.errors import ConfigurationError
    from meshcore.injection import ModuleMark
    from meshcore.marks import find_mark
    from meshcore.recipes import modules_of

    catalog = Catalog(module_class)
    named = [mark.components for each in modules_of(module_class) if (mark := find_mark(each, ModuleMark))]
    interfaces = [
        *(hosted.component.interface for hosted in catalog.hosted),
        *(each for part in named for each in part),
    ]
    components = [catalog.component(interface) for interface in dict.fromkeys(interfaces)]
    if catalog.problems:
        raise ConfigurationError(f"{module_class.__qualname__} cannot be used", catalog.problems)
    return components


def _find(services: "list[ServiceDescription]", typed: str) -> "tuple[ServiceDescription, Method]":
    """The method called `service.method`."""
    from meshcore.errors import ConfigurationError
    from meshcore.suggest import did_you_mean

    title = f"cannot call {typed!r}"
    service_name, _, method_name = typed.rpartition(".")
    service = next((service for service in services if service.name == service_name), None)
    if service is None:
        names = {f"{service.name}.{method.name}" for service in services for method in service.methods}
        raise ConfigurationError(title, [f"no such service{did_you_mean(typed, names)}"])
    method = service.method(method_name)
    if method is None:
        names = {method.name for method in service.methods}
        raise ConfigurationError(
            title, [f"{service_name} has no method {method_name!r}{did_you_mean(method_name, names)}"]
        )
    return service, method


def _read_arguments(method: "Method", texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a method from `name=value` each."""
    from meshcore.errors import ConfigurationError
    from meshcore.suggest import did_you_mean

    problems: list[str] = []
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            problems.append(f"{text!r} is not of the form name=value")
            continue
        if name in given:
            problems.append(f"{name} is given twice")
        given[name] = value
    known = {parameter.name: parameter for parameter in method.parameters}
    problems += [f"no parameter {name!r}{did_you_mean(name, known)}" for name in given if name not in known]
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in known.items():
        if name not in given:
            if parameter.required:
                problems.append(f"{name} is missing")
            continue
        try:
            value = _read_value(parameter, given[name])
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if parameter.positional_only:
            positional.append(value)
        else:
            named[name] = value
    if problems:
        signature = " ".join(f"{name}=..." for name in known)
        raise ConfigurationError(f"cannot call {method} ({signature or 'takes nothing'})", problems)
    return positional, named


def _read_value(parameter: "Parameter", typed: str) -> Any:
    """A value of the parameter's type from JSON, else from text.

    Raises:
        ValueError: it is neither.
    """
    from meshcore.codec import JSON, DecodeError
    from meshcore.text import from_text
    from meshcore.wording import TravelError

    try:
        return JSON.decoder(parameter.type)(typed.encode())
    except DecodeError as error:
        try:
            return from_text(parameter.type)(typed)
        except TravelError:
            raise error from None  # a type that has no form as text: what is wrong is wrong with the JSON


if __name__ == "__main__":
    main()
