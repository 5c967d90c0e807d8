"""`meshcore call`."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Context, Option

from meshcore.cli.commands.options import AsJson, Channel, Identity, Method, ModuleOption, Registry, settings_of
from meshcore.cli.errors import on_one_line
from meshcore.core.lazy import uncollected


def call(
    context: Context,
    method: Method,
    arguments: Annotated[
        list[str] | None,
        Argument(help="As name=value; a value is JSON or text. Or - for a JSON object on stdin."),
    ] = None,
    *,
    module: ModuleOption = None,
    channel: Channel = "",
    registry: Registry = None,
    identity: Identity = None,
    timeout: Annotated[float | None, Option(help="How long the call may take.")] = None,
    header: Annotated[
        list[str] | None, Option(help='A header to send, as "name: value"; may be given several times.')
    ] = None,
    token: Annotated[
        str,
        Option(
            envvar="MESHCORE_TOKEN",
            help="A bearer token to send, or @FILE for the one in a file. One that is typed stays in the shell's "
            "history, and other users of the machine may see it.",
        ),
    ] = "",
    repeat: Annotated[int | None, Option(min=1, help="Call N times, and print how long the calls took.")] = None,
    as_json: AsJson = False,
) -> None:
    """Call a method of a service, and print its result as JSON: meshcore call greeting.hello message=world.

    A stream is printed item by item. The items of a stream that the method takes are lines of JSON on stdin.
    """
    with on_one_line(debug=context.obj):
        with uncollected():
            import asyncio

            from meshcore.cli.call.call import call_once, call_repeatedly
            from meshcore.cli.call.call_headers import read_headers

        settings = settings_of(context, module=module, registry=registry, identity=identity, timeout=timeout)
        words, headers = arguments or [], read_headers(header or [], token)
        if repeat is None:
            result = asyncio.run(call_once(settings, method, words, channel, headers, as_json=as_json))
            if result is not None:  # items were printed as they came
                print(result)
        else:
            asyncio.run(call_repeatedly(settings, method, words, channel, headers, repeat, as_json=as_json))
