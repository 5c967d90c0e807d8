"""`meshcore call`: makes one call and returns its result, or many calls and prints their latencies."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any, cast

import anyio.to_thread
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from meshcore.cli.arguments import read_arguments
from meshcore.cli.call.call_headers import with_headers
from meshcore.cli.printing import make_console, print_json, table
from meshcore.cli.targets import client_of
from meshcore.codec.codec import JSON
from meshcore.core.description import Method, Shape
from meshcore.core.errors import Code, CommunicationError, LocalError, MeshError, RemoteError
from meshcore.core.settings import Settings
from meshcore.mesh.forms import awaitable
from meshcore.mesh.mesh import Mesh


class Summary(msgspec.Struct, frozen=True):
    """The results of many calls, made one after the other.

    Attributes:
        failed: failed calls, by code or by the name of the declared exception.
        seconds: how long all calls took.
        p50: latency of the successful calls, in seconds; like `p99` and `slowest` None if no call succeeded.
    """

    method: str
    calls: int
    succeeded: int
    failed: dict[str, int]
    seconds: float
    p50: float | None
    p99: float | None
    slowest: float | None


async def call_once(
    settings: Settings,
    typed: str,
    words: Sequence[str],
    channel: str,
    headers: Mapping[str, str],
    *,
    as_json: bool = False,
) -> str | None:
    """Call a method, typed as `service.method`.

    Returns:
        The result as JSON: indented, or on one line with `as_json`. None if the method streams it: then each item is
        printed on a line when it comes. Ctrl-C ends the stream, at the server, too.
    """
    client, service, method = await client_of(settings, typed)
    arguments = read_arguments(method, words)
    write = JSON.encoder(method.returns)
    async with Mesh(with_headers(client, headers), settings=settings) as mesh:
        called = await mesh.get_service(service.interface, channel)
        if method.yields:
            await _print_items(called, method, arguments, write)
            return None
        result = await _calls(called, method, arguments)()
    data = write(result)
    return (data if as_json else msgspec.json.format(data, indent=2)).decode()


async def _print_items(
    service: Any, method: Method, arguments: tuple[list[Any], dict[str, Any]], write: Callable[[Any], bytes]
) -> None:
    positional, named = arguments
    function: Callable[..., AsyncIterator[Any]] = getattr(service, method.name)
    found = cast("AsyncGenerator[Any]", awaitable(function)(*positional, **named))
    with _declared_errors(method):
        async with aclosing(found) as items:
            async for item in items:
                print(write(item).decode(), flush=True)


async def call_repeatedly(
    settings: Settings,
    typed: str,
    words: Sequence[str],
    channel: str,
    headers: Mapping[str, str],
    times: int,
    *,
    as_json: bool = False,
) -> None:
    """Call a method many times, one call after the other, and print a summary. Ctrl-C prints it early.

    Raises:
        MeshError: the first error, raised after all calls. A LocalError is raised at once: no call can be sent.
    """
    client, service, method = await client_of(settings, typed)
    if method.shape is not Shape.UNARY:
        text = f"{method} is a {method.shape.value}: --repeat is for methods that do not stream"
        raise LocalError(Code.INVALID_ARGUMENT, text)
    arguments = read_arguments(method, words)
    latencies: list[float] = []
    failed: Counter[str] = Counter()
    first: MeshError | None = None
    async with Mesh(with_headers(client, headers), settings=settings) as mesh:
        once = _calls(await mesh.get_service(service.interface, channel), method, arguments)
        with suppress(CommunicationError):  # the calls report it
            await mesh.wait_for(service.interface)
        begun = time.perf_counter()
        try:
            with _progress(times) as advance:
                for _ in range(times):
                    start = time.perf_counter()
                    try:
                        await once()
                    except LocalError:
                        raise
                    except MeshError as error:
                        first = first or error
                        failed[str(error.details.get("exception") or error.code.value)] += 1
                    else:
                        latencies.append(time.perf_counter() - start)
                    advance()
        finally:  # after Ctrl-C, too: it is the usual way to end many calls
            if latencies or failed:
                _print(_summary(str(method), latencies, failed, time.perf_counter() - begun), as_json=as_json)
    if first is not None:
        raise first


def _calls(service: Any, method: Method, arguments: tuple[list[Any], dict[str, Any]]) -> Callable[[], Awaitable[Any]]:
    """Make a function that calls the method with these arguments."""
    positional, named = arguments
    function = functools.partial(getattr(service, method.name), *positional, **named)

    async def once() -> Any:
        with _declared_errors(method):
            return await (function() if method.is_async else anyio.to_thread.run_sync(function))

    return once


@contextmanager
def _declared_errors(method: Method) -> Generator[None]:
    """Let a declared exception count and print as an error of the server."""
    try:
        yield
    except method.raises as error:
        code = getattr(error, "code", Code.FAILED_PRECONDITION)
        name = type(error).__name__
        raise RemoteError(code, f"{name}: {error}", details={"exception": name}) from error


def _summary(method: str, latencies: list[float], failed: Counter[str], seconds: float) -> Summary:
    latencies.sort()

    def at(share: float) -> float | None:
        return latencies[math.ceil(share * len(latencies)) - 1] if latencies else None

    calls = len(latencies) + failed.total()
    return Summary(method, calls, len(latencies), dict(failed), seconds, at(0.5), at(0.99), at(1.0))


def _print(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    made = table("method", "calls", "succeeded", "failed", "calls/s", "p50 ms", "p99 ms", "slowest ms")
    failed = ", ".join(f"{count} {name}" for name, count in summary.failed.items()) or "0"
    times = [f"{each * 1000:.2f}" if each is not None else "-" for each in (summary.p50, summary.p99, summary.slowest)]
    rate = f"{summary.calls / summary.seconds:.0f}"
    made.add_row(summary.method, str(summary.calls), str(summary.succeeded), failed, rate, *times)
    make_console().print(made)


@contextmanager
def _progress(total: int) -> Generator[Callable[[], None]]:
    """Show a progress bar on stderr if that is a terminal. Yields a function that advances it."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
