"""Calls, handlers and interceptors. Both the client stack and the server stack are composed of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from math import inf
from types import FunctionType
from typing import Any, ParamSpec, TypeAlias, TypeVar

import msgspec

from meshcore.core.attempt import Attempt
from meshcore.core.caller import THIS_PROCESS, Caller
from meshcore.core.description import Method
from meshcore.core.policy import DEFAULTS, Rules

P = ParamSpec("P")
T = TypeVar("T")

LOCAL_PEER = "local"
"""The peer of a call that was made in this process."""


CALLER_KEY = "idempotency-key"
"""The header of an idempotency key that the caller has chosen; see `with_key`."""

LONGEST_KEY = 255
"""Characters of an idempotency key. A server keeps each for a while."""


def why_no_key(key: object) -> str:
    """Why something is no idempotency key, empty if it is one. A text itself may be a secret."""
    if not isinstance(key, str):
        return f"a key is a str, this one is {type(key).__name__}"
    if not 0 < len(key) <= LONGEST_KEY:
        return f"a key has 1 to {LONGEST_KEY} characters, this one has {len(key)}"
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        return "a key consists of printable ASCII, without space around it"
    return ""


class Call(msgspec.Struct, frozen=True):
    """One call of one method.

    Attributes:
        method: the method that is called.
        arguments: one value per parameter of the method, in its order, defaults filled in.
        headers: travel with the call; the names are lower case.
        deadline: the time on `time.monotonic()` at which the caller stops waiting.
        attempt: the number of the attempt: 1 for the first, one more for each retry.
        tried: ids of the instances that earlier attempts asked. The next attempt prefers others.
        rules: the policy of the call, with every field set.
        trail: the attempts so far, oldest first. All attempts of one call share this list.
        peer: the address of the caller's host, "local" if the call was made in this process.
        caller: who calls.
    """

    method: Method
    arguments: tuple[Any, ...] = ()
    headers: Mapping[str, str] = {}
    deadline: float = inf
    attempt: int = 1
    tried: tuple[str, ...] = ()
    rules: Rules = DEFAULTS
    trail: list[Attempt] = []
    peer: str = LOCAL_PEER
    caller: Caller = THIS_PROCESS

    def with_items(self, change: Callable[[Any], Any]) -> Call:
        """The same call, with what a function makes of the caller's stream; itself if it has none."""
        at = self.method.stream_at
        if at is None:
            return self
        arguments = (*self.arguments[:at], change(self.arguments[at]), *self.arguments[at + 1 :])
        return msgspec.structs.replace(self, arguments=arguments)

    def __repr__(self) -> str:
        """Without arguments and values of headers, which may be secrets."""
        return f"Call({self.method}, headers={sorted(self.headers)}, attempt={self.attempt}, peer={self.peer!r})"


Handler: TypeAlias = Callable[[Call], Awaitable[Any]]
"""Takes a call and returns its result: `async def handler(call) -> result`."""
Interceptor: TypeAlias = Callable[[Handler, Call], Awaitable[Any]]
"""Wraps a handler: `async def interceptor(handler, call) -> result`."""

SendItem: TypeAlias = Callable[[Any], Awaitable[None]]
"""Passes one item of a stream on: `await send(item)`. It raises `StreamClosedError` if nobody reads any more."""
StreamHandler: TypeAlias = Callable[[Call, SendItem], Awaitable[Any]]
"""Runs a streaming call: `async def handler(call, send) -> result`, None if the method streams its result.

It returns when the stream has ended. A parameter that is a stream is an `AsyncIterator` in `call.arguments`.
"""
StreamInterceptor: TypeAlias = Callable[[StreamHandler, Call, SendItem], Awaitable[Any]]
"""Wraps a handler of streaming calls: `async def interceptor(handler, call, send) -> result`."""


class Interceptors(msgspec.Struct, frozen=True):
    """The user's interceptors. A module's `@create` method that returns this adds them to the mesh.

    An interceptor of clients that has a method `for_component(name)` is asked for each component which interceptor
    stands around the calls to that; None for none.

    Attributes:
        client: around every call that is made, the first outermost; around a stream, for its whole life.
        server: around every call that is served or made locally, likewise.
        client_streams: around every streaming call that is made, inside of `client`. They see the items, too.
        server_streams: around every streaming call that is served or made locally, likewise.
    """

    client: Sequence[Interceptor] = ()
    server: Sequence[Interceptor] = ()
    client_streams: Sequence[StreamInterceptor] = ()
    server_streams: Sequence[StreamInterceptor] = ()


# The deadline of the call that the current code serves. Calls that it makes inherit it. Tasks inherit context
# variables; threads of `core.context.threads` get a copy of the context.
ambient_deadline: ContextVar[float] = ContextVar("ambient_deadline", default=inf)

# The attempt number of the call that the current code serves. Calls that are made while a retry is served are not
# retried again.
ambient_attempt: ContextVar[int] = ContextVar("ambient_attempt", default=1)


def compose(handler: Handler, *interceptors: Interceptor) -> Handler:
    """The handler wrapped in the interceptors, the first outermost. Called once, when the mesh is built."""
    handler = _bound(handler)
    for interceptor in reversed(interceptors):
        # partial and not a closure: it adds no Python frame per layer.
        handler = partial(_bound(interceptor), handler)
    return handler


def interceptors_for(component: str, interceptors: Sequence[Interceptor]) -> list[Interceptor]:
    """The interceptors around the calls to a component; see `Interceptors`."""
    chosen: list[Interceptor] = []
    for each in interceptors:
        ask = getattr(each, "for_component", None)
        found: Interceptor | None = each if ask is None else ask(component)
        if found is not None:
            chosen.append(found)
    return chosen


def _bound(function: Callable[P, T]) -> Callable[P, T]:
    """The method `__call__` of an object: to call the object itself takes 0.06 us more, in each layer of every call."""
    method = getattr(type(function), "__call__", None)  # noqa: B004 - that of a class is wanted
    return method.__get__(function) if isinstance(method, FunctionType) else function
