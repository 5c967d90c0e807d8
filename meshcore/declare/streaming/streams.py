"""Reads the streams of an interface: a result or one parameter that is an `AsyncIterator` or an `Iterator`."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from meshcore.codec.wire_types import why_not_type
from meshcore.core.description import Method, Parameter
from meshcore.core.marks import find_mark
from meshcore.declare.http import HttpMark
from meshcore.declare.services import AffinityMark, IdempotencyKeyMark, InThreadMark, ShieldedMark

_ASYNC: tuple[Any, ...] = (AsyncIterator, AsyncIterable, AsyncGenerator)
_BLOCKING: tuple[Any, ...] = (Iterator, Iterable, Generator)
_GENERATORS: tuple[Any, ...] = (AsyncGenerator, Generator)
_NOT_GIVEN: Any = object()


class Stream(NamedTuple):
    """What the annotation of a stream says.

    Attributes:
        item: the type of the items.
        is_async: whether they are read with `async for`.
        name: of the type, such as `AsyncIterator`.
        sent: the type of what is sent to a generator, or None.
    """

    item: Any
    is_async: bool
    name: str
    sent: Any = None


def stream_of(hint: Any) -> Stream | None:
    """The stream that an annotation stands for, None if it is another type."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    kind: Any = get_origin(hint) or hint
    if kind not in _ASYNC and kind not in _BLOCKING:
        return None
    arguments = get_args(hint)
    sent = arguments[1] if kind in _GENERATORS and len(arguments) > 1 else None
    return Stream(arguments[0] if arguments else _NOT_GIVEN, kind in _ASYNC, kind.__name__, sent)


def why_not_stream(stream: Stream) -> str:
    """Why a stream cannot travel, empty if it can."""
    if stream.item is _NOT_GIVEN:
        return f"{stream.name} needs the type of its items: {stream.name}[str]"
    if stream.sent not in (None, type(None), Any):
        return f"what is sent to a generator cannot travel; write {_plain(stream)}[...]"
    if stream_of(stream.item) or buried_stream(stream.item):
        return "the items of a stream cannot be streams themselves"
    reason = why_not_type(stream.item)
    return f"its items: {reason}" if reason else ""


def buried_stream(hint: Any) -> str:
    """Why a stream inside of another type, such as a list, cannot travel; empty if there is none."""
    for part in get_args(hint):
        stream = stream_of(part)
        if stream is not None:
            text = "a stream can only be a whole parameter or the whole result, not a part of another type"
            return f"{text}; a sequence that is complete travels as list[...]"
        if reason := buried_stream(part):
            return reason
    return ""


def mixed_forms(function: Any, hints: Mapping[str, Any]) -> list[str]:
    """What is wrong with the streams of a method as a whole."""
    parameters = {name: found for name, hint in hints.items() if name != "return" and (found := stream_of(hint))}
    problems: list[str] = []
    if len(parameters) > 1:
        names = ", ".join(parameters)
        problems.append(f"takes several streams ({names}); a call has one: make it a stream of a union")
    returned = stream_of(hints.get("return"))
    coroutine = any(map(inspect.iscoroutinefunction, (function, inspect.unwrap(function))))
    if coroutine and returned is not None:
        declare = "declare it with def" if returned.is_async else "declare it with def, and AsyncIterator"
        text = f"is async def and returns {returned.name}, so callers would have to await it before they can read it"
        problems.append(f"{text}; {declare} (the implementation is an async def with yield)")
        return problems
    is_async = returned.is_async if returned is not None else coroutine
    for name, stream in parameters.items():
        if stream.is_async != is_async:
            wanted = "AsyncIterator" if is_async else "Iterator"
            other = "reads with async for" if is_async else "reads with for"
            mend = (
                "" if is_async else f", or declare the method as async ({'AsyncIterator' if returned else 'async def'})"
            )
            problems.append(f"takes {name!r} as {stream.name}, but {other}; write {wanted}[...]{mend}")
    return problems


def mark_problems(function: Any, parameters: Sequence[Parameter], *, yields: bool) -> list[str]:
    """The decorators of a streaming method that have no meaning there.

    Args:
        function: of the interface.
        parameters: of the method.
        yields: whether it returns a stream.
    """
    problems: list[str] = []
    if find_mark(function, IdempotencyKeyMark) is not None:
        problems.append("@idempotency_key keeps the one outcome of a call, which a stream does not have")
    if find_mark(function, ShieldedMark) is not None:
        problems.append("@shielded: a stream ends with its caller, who alone reads it")
    takes = any(parameter.stream for parameter in parameters)
    if takes and yields and find_mark(function, HttpMark) is not None:
        text = "a method that takes a stream and returns one has no HTTP mapping"
        problems.append(f"{text}: one exchange of HTTP/1.1 goes one way after the other")
    mark = find_mark(function, AffinityMark)
    if mark is not None and any(each.stream and each.name == mark.parameter for each in parameters):
        problems.append(f"@affinity: {mark.parameter!r} is a stream, whose items come after the instance is chosen")
    return problems


def form_problem(method: Method, function: Any, returned: Any) -> str:
    """Why an implementation cannot be read as the stream that its interface promises; empty if it can.

    Args:
        method: of the interface.
        function: implements it.
        returned: the annotation of its result, `Any` if it has none.
    """
    stream = stream_of(returned)
    generates = inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)
    if not method.yields:
        is_stream = "yields items" if generates else f"returns {stream.name}" if stream else ""
        return f"{is_stream}, but the interface promises one value" if is_stream else ""
    promised = "AsyncIterator" if method.is_async else "Iterator"
    if inspect.iscoroutinefunction(function):
        if find_mark(function, InThreadMark) is not None:
            return "@in_thread is for methods that return one value; a def with yield runs in a thread without it"
        return f"is async def without yield, but the interface promises {promised}: yield the items"
    if generates or returned is Any:
        return ""
    if stream is None or stream.is_async != method.is_async:
        shown = stream.name if stream else getattr(returned, "__name__", str(returned))
        return f"returns {shown}, but the interface promises {promised}: yield the items"
    return ""


def _plain(stream: Stream) -> str:
    return "AsyncIterator" if stream.is_async else "Iterator"
