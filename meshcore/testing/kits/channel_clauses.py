"""The clauses of the contract of channels. Each function checks the clause in its docstring, which the kit quotes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

from meshcore.core.errors import AuthorizationError, Code, CommunicationError, LocalError, MeshError, RemoteError
from meshcore.testing.kits.channel_setup import Setup, deadline_in, equal, failing, together, within
from meshcore.testing.kits.conformance import Chosen, Circle, OutOfStock, Overdrawn, Scalars, Square, Tree
from meshcore.testing.kits.conformance_server import ACCOUNT, SECRET, out_of_stock
from meshcore.testing.kits.samples import EMPTY, EVERYTHING, SCALARS, STEPS, TEXTS
from meshcore.testing.servers import answering, refusing

Clause: TypeAlias = Callable[[Setup], Awaitable[None]]

MANY: Final = 100
"""Calls at the same time."""


async def types(setup: Setup) -> None:
    """Values of every type that travels arrive as they were sent, in both directions."""
    equal(await setup.service.everything(EVERYTHING), EVERYTHING, "a value of all types")
    equal(await setup.service.everything(EMPTY), EMPTY, "a value of empty values")
    for shape in (Circle(1.5), Square(3), None):
        equal(await setup.service.shape(shape), shape, "a member of a union")
    for table in ({}, {"a": [1], "": [], "/?#%": [2, 3]}):
        equal(await setup.service.table(table), table, "a dict")
    for value in ((1, "a", 2.5), (0, "", None)):
        equal(await setup.service.triple(value), value, "a tuple")


async def scalars(setup: Setup) -> None:
    """Plain values arrive as they were sent, also where a channel carries them in a URL."""
    for value in (SCALARS, Scalars()):
        arguments: dict[str, Any] = {name: getattr(value, name) for name in Scalars.__struct_fields__}
        equal(await setup.service.scalars(**arguments), value, "arguments of plain types")
    for number, text in enumerate(TEXTS):
        equal(await setup.service.places(text, number, text), [text, str(number), text], "texts")
        equal(await setup.service.text(text), text, "a text")
    equal(await setup.service.places("a", 0, ""), ["a", "0", ""], "an empty text")


async def steps(setup: Setup) -> None:
    """Texts that are steps in the path of a URL arrive as they were sent, or the call is refused before it is sent."""
    for text in STEPS:
        equal(await setup.service.text(text), text, "a text")
        try:
            found = await setup.service.places(text, 7, text)
        except LocalError as error:
            equal(error.code, Code.INVALID_ARGUMENT, "the code of a call that the channel cannot carry")
        else:
            equal(found, [text, "7", text], "steps")


async def lists(setup: Setup) -> None:
    """Lists of plain values arrive as they were sent, also empty ones and None."""
    amounts = [Decimal("1.10"), Decimal("-0.5")]
    found = await setup.service.lists([3, 1, 2], {"b", "a/b"}, amounts)
    equal(found, ([3, 1, 2], ["a/b", "b"], amounts), "lists")
    equal(await setup.service.lists([1], {""}, None), ([1], [""], None), "lists of one member, and None")
    empty: tuple[list[int], list[str], None] = ([], [], None)
    equal(await setup.service.lists([], set(), None), empty, "empty lists, and None")


async def defaults(setup: Setup) -> None:
    """Arguments can be given by position or by name, and omitted ones have their defaults."""
    chosen = setup.service.chosen
    equal(await chosen("a"), Chosen("a", 2, None, [4], 5), "all defaults")
    equal(await chosen(second=7, first="b"), Chosen("b", 7, None, [4], 5), "arguments by name")
    everything = Chosen("c", 0, "", [1, 2], 0, Tree("t"))
    equal(await chosen("c", 0, third="", fourth=[1, 2], fifth=0, sixth=Tree("t")), everything, "all arguments")
    equal(await chosen("d", fifth=None), Chosen("d", 2, None, [4], None), "None where the default is another value")


async def nothing(setup: Setup) -> None:
    """A method without a result returns None, and an optional result may be None."""
    service = setup.service
    equal(await cast("Awaitable[object]", service.nothing()), None, "a method without a result")
    equal(await service.maybe(found=False), None, "an optional result")
    equal(await service.maybe(found=True), Tree("found"), "an optional result")


async def declared_exceptions(setup: Setup) -> None:
    """A declared exception arrives as the same class with the same fields."""
    stock = await failing(OutOfStock, setup.service.buy("stock"))
    equal(stock, out_of_stock(), "the exception")
    account = await failing(Overdrawn, setup.service.buy("money"))
    equal((account.account, account.missing), (ACCOUNT, Decimal("0.01")), "the exception's fields")
    equal(str(account), str(Overdrawn(ACCOUNT, missing=Decimal("0.01"))), "the exception's text")


async def mesh_errors(setup: Setup) -> None:
    """An error of the mesh keeps its code, message and details; PERMISSION_DENIED is an AuthorizationError."""
    error = await failing(RemoteError, setup.service.missing(7))
    expected = (Code.NOT_FOUND, "nothing has the key 7", {"key": 7, "near": [6]}, False, True)
    found = (error.code, error.message, dict(error.details), error.retryable, error.processed)
    equal(found, expected, "code, message, details, retryable and processed")
    equal(error.retry_after, 0.5, "the pause that the server asks for")
    denied = await failing(AuthorizationError, setup.service.forbidden())
    equal(denied.code, Code.PERMISSION_DENIED, "the code")


async def undeclared_exceptions(setup: Setup) -> None:
    """An undeclared exception, or a result of a wrong type, is INTERNAL and reveals nothing of the server."""
    for call in (setup.service.crash(), setup.service.lie()):
        error = await failing(RemoteError, call)
        equal(error.code, Code.INTERNAL, "the code")
        if SECRET in f"{error} {error.details}":
            raise AssertionError(f"the error reveals a secret of the server: {error} {error.details}")


async def wrong_arguments(setup: Setup) -> None:
    """An argument of a wrong type is INVALID_ARGUMENT and reaches no implementation."""
    service: Any = setup.service
    for call in (service.count("many"), service.everything({"scalars": 7}), service.table(Tree("a"))):
        error = await failing(MeshError, call)
        equal((error.code, error.processed), (Code.INVALID_ARGUMENT, False), f"code and processed of {error}")


async def metadata(setup: Setup) -> None:
    """The headers of a call, and how long its caller waits, arrive."""
    equal(await setup.service.header(), "yes", "the header")
    with deadline_in(setup.seconds / 2):
        remaining = await setup.service.remaining()
    if not 0 < remaining <= setup.seconds / 2:
        raise AssertionError(f"the caller waits {setup.seconds / 2} s, the server believes {remaining} s")


async def large_bodies(setup: Setup) -> None:
    """Requests and answers of nearly `max_body` pass; larger ones are RESOURCE_EXHAUSTED, and later calls succeed."""
    size = setup.max_body - 1024
    text = "ü" * (size // 2)
    equal(await setup.service.text(text) == text, expected=True, what="whether a large text came back as it was sent")
    equal(len(await setup.service.large(size)), size, "the size of a large answer")
    error = await failing(MeshError, setup.service.text("x" * (setup.max_body + 1)))
    equal(error.code, Code.RESOURCE_EXHAUSTED, "the code for a request that is too large")
    error = await failing(CommunicationError, setup.service.large(setup.max_body + 1))
    equal(error.code, Code.RESOURCE_EXHAUSTED, "the code for an answer that is too large")
    equal(await setup.service.count(1), 2, "a call afterwards")


async def cancellation(setup: Setup) -> None:
    """When its caller is cancelled, the call ends as cancelled, and so does the server's work."""
    task = asyncio.ensure_future(setup.service.hold("cancelled"))
    await within(setup.seconds, setup.implementation.begun["cancelled"].wait(), "the call did not begin")
    task.cancel()
    await asyncio.wait([task], timeout=setup.seconds)
    if not task.cancelled():
        raise AssertionError(f"the caller was cancelled, but got {task.exception() if task.done() else 'nothing'!r}")
    # Well before the deadline of the call, at which the server would stop by itself.
    seconds = setup.seconds / 2
    await within(seconds, setup.implementation.cancelled["cancelled"].wait(), "the server was not cancelled")


async def deadlines(setup: Setup) -> None:
    """When their time is up, calls and the server's work end as DEADLINE_EXCEEDED; later calls succeed."""
    names = [f"late {number}" for number in range(20)]
    with deadline_in(0.3):
        begun = time.monotonic()
        errors = await together([failing(MeshError, setup.service.hold(name)) for name in names])
    equal({error.code for error in errors}, {Code.DEADLINE_EXCEEDED}, "the codes")
    if time.monotonic() - begun > setup.seconds:
        raise AssertionError(f"calls with a deadline of 0.3 s took {time.monotonic() - begun:.1f} s")
    for name in names:
        if setup.implementation.begun[name].is_set():
            await within(setup.seconds, setup.implementation.cancelled[name].wait(), "the server went on")
    found = await together([setup.service.count(number) for number in range(20)])
    equal(found, [number + 1 for number in range(20)], "the calls afterwards")


async def concurrency(setup: Setup) -> None:
    """Many calls run at once, and each gets its own answer."""
    found = await together([setup.service.meet(number, MANY) for number in range(MANY)])
    equal(found, list(range(MANY)), "the answers")


async def dead_endpoints(setup: Setup) -> None:
    """Where nothing listens, a call is a CommunicationError, not processed and retryable."""
    async with refusing() as url, setup.calling(url) as service:
        for call in (service.text("a"), service.places("a", 1, "b")):
            error = await failing(CommunicationError, call)
            found = (error.code, error.processed, error.retryable)
            equal(found, (Code.UNAVAILABLE, False, True), f"code, processed and retryable of {error}")


async def broken_connections(setup: Setup) -> None:
    """When its connection breaks, a call is a CommunicationError, and may have been processed."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n"
    for parts in ([], [head], [head + b'{"result":'], [chunked + b'"res']):
        for reset in (False, True):
            async with answering(parts, reset=reset) as url, setup.calling(url) as service:
                error = await failing(CommunicationError, service.text("a"))
                equal((error.code, error.processed), (Code.UNAVAILABLE, True), f"code and processed of {error}")


async def strange_answers(setup: Setup) -> None:
    """An answer of another server has the code of its status; a malformed one with status 200 is retryable."""
    for body in (b"", b"garbage", b"\xff\xfe\x00", b"<html></html>", b"[[[[", b'{"result":'):
        async with answering([_answer(200, body)]) as url, setup.calling(url) as service:
            error = await failing(CommunicationError, service.text("a"))
            equal((error.retryable, error.processed), (True, True), f"retryable and processed of {error}")
    async with answering([_answer(200, b"{}")]) as url, setup.calling(url) as service:
        await failing(CommunicationError, service.text("a"))
    for bytes_ in (b"garbage\r\n\r\n", b"\x00" * 100, b"HTTP/1.1 nonsense\r\n\r\n"):
        async with answering([bytes_]) as url, setup.calling(url) as service:
            await failing(CommunicationError, service.text("a"))
    for status, code in ((502, Code.UNAVAILABLE), (503, Code.UNAVAILABLE), (403, Code.PERMISSION_DENIED)):
        async with answering([_answer(status, b"<html>proxy</html>")]) as url, setup.calling(url) as service:
            failure = await failing(MeshError, service.text("a"))
            equal(failure.code, code, f"the code for the status {status}")


async def endless_answers(setup: Setup) -> None:
    """An answer larger than `max_body` is a CommunicationError, RESOURCE_EXHAUSTED, and is not read to its end."""
    chunk = b"x" * 65536
    number = setup.max_body // len(chunk) + 2
    plain = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000000\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    for parts in ([plain, *([chunk] * number)], [chunked, *([b"%x\r\n%b\r\n" % (len(chunk), chunk)] * number)]):
        async with answering(parts) as url, setup.calling(url) as service:
            error = await failing(CommunicationError, service.text("a"))
            equal(error.code, Code.RESOURCE_EXHAUSTED, f"the code of {error}")


CLAUSES: tuple[Clause, ...] = (
    types,
    scalars,
    steps,
    lists,
    defaults,
    nothing,
    declared_exceptions,
    mesh_errors,
    undeclared_exceptions,
    wrong_arguments,
    metadata,
    large_bodies,
    cancellation,
    deadlines,
    concurrency,
    dead_endpoints,
    broken_connections,
    strange_answers,
    endless_answers,
)


def _answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body
