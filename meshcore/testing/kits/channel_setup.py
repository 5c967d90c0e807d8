"""What the clauses of the channel kit share: server and client, and comparisons."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import NamedTuple, TypeVar

from meshcore.core.call import ambient_deadline
from meshcore.testing.kits.conformance import Conformance
from meshcore.testing.kits.conformance_server import ConformanceImpl

E = TypeVar("E", bound=Exception)
T = TypeVar("T")

_SHOWN = 200


class Setup(NamedTuple):
    """A server with the service, and a client that calls it over the channel.

    Attributes:
        service: the proxy.
        implementation: the object that runs in the server.
        calling: makes a proxy that calls another URL.
        max_body: the setting of both sides.
        seconds: the time limit of a call.
    """

    service: Conformance
    implementation: ConformanceImpl
    calling: Callable[[str], AbstractAsyncContextManager[Conformance]]
    max_body: int
    seconds: float


async def failing(family: type[E], call: Awaitable[object]) -> E:
    """Wait for a call that must end with an error of this family, and return the error."""
    try:
        result = await call
    except family as error:
        return error
    raise AssertionError(f"expected {family.__name__}, got {_shown(result)}")


async def together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Return the results of calls that run at the same time. If one fails, the others are still waited for."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.wait(tasks)
    return [task.result() for task in tasks]


def equal(found: object, expected: object, what: str) -> None:
    """Raise an AssertionError with both values, unless they are equal and of one type."""
    if found != expected or type(found) is not type(expected):
        raise AssertionError(f"{what}: expected {_shown(expected)}, got {_shown(found)}")


async def within(seconds: float, event: Awaitable[object], otherwise: str) -> None:
    """Wait for an event, with a time limit."""
    try:
        await asyncio.wait_for(event, seconds)
    except TimeoutError:
        raise AssertionError(f"{otherwise} within {seconds} s") from None


@contextmanager
def deadline_in(seconds: float) -> Generator[None]:
    """Give the calls in the context a deadline, as if they were made while a call with that deadline is served."""
    token = ambient_deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        ambient_deadline.reset(token)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
