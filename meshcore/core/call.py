"""The one abstraction: a call, what handles it, and what stands around a handler. Everything else is built from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from math import inf
from typing import Any, TypeAlias

import msgspec

from meshcore.core.attempt import Attempt
from meshcore.core.description import Method
from meshcore.core.policy import DEFAULTS, Rules

HERE = "local"
"""The peer of a call that was made in this process."""


class Call(msgspec.Struct, frozen=True):
    """One call of one method, on its way to an implementation.

    Attributes:
        method: what is called.
        arguments: bound to the method's signature, one per parameter, defaults filled in.
        headers: travel with the call; lower-case names.
        deadline: the instant on `time.monotonic()` at which the caller stops waiting.
        attempt: 1 for the first; what is sent again counts on.
        tried: ids of the instances that earlier attempts asked, so that the next goes elsewhere.
        rules: the numbers that govern it.
        trail: its attempts so far, oldest first; shared by all that are sent for one call of a proxy.
        peer: the address of the host that it came from, "local" if it was made in this process.
    """

    method: Method
    arguments: tuple[Any, ...] = ()
    headers: Mapping[str, str] = {}
    deadline: float = inf
    attempt: int = 1
    tried: tuple[str, ...] = ()
    rules: Rules = DEFAULTS
    trail: list[Attempt] = []
    peer: str = HERE


Handler: TypeAlias = Callable[[Call], Awaitable[Any]]
"""Takes a call and returns its result: `async def handler(call) -> result`."""
Interceptor: TypeAlias = Callable[[Handler, Call], Awaitable[Any]]
"""Stands around a handler: `async def interceptor(handler, call) -> result`."""

# The deadline of the call that this code serves: calls made from there inherit it. Context variables cross tasks
# and, because both doors copy the context, threads.
ambient_deadline: ContextVar[float] = ContextVar("ambient_deadline", default=inf)

# Which attempt the call that this code serves is: calls made below a retry are not retried once more.
ambient_attempt: ContextVar[int] = ContextVar("ambient_attempt", default=1)


def compose(handler: Handler, *interceptors: Interceptor) -> Handler:
    """The handler with the interceptors around it, the first outermost. Done once, at build time."""
    for interceptor in reversed(interceptors):
        # partial, not a closure: it calls straight through C and adds no Python frame per layer.
        handler = partial(interceptor, handler)
    return handler


class Interceptors(msgspec.Struct, frozen=True):
    """The user's interceptors. A module's `@create` method that returns this adds them to the mesh.

    Attributes:
        client: around every call that is made, the first outermost.
        server: around every call that is served or made locally, the first outermost.
    """

    client: Sequence[Interceptor] = ()
    server: Sequence[Interceptor] = ()
