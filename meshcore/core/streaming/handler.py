"""Composes the handlers of streaming calls: the second type of handler, beside that of calls with one result.

A handler is given a `send`, which passes one item of the result to the caller and waits while the caller is slow. It
returns when the stream has ended. So what stands around it, such as `finally`, covers the whole life of the stream. A
handler that returned an iterator would have ended before the first item.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any

from meshcore.core.call import Call, Handler, Interceptor, SendItem, StreamHandler, StreamInterceptor
from meshcore.core.errors import Code, LocalError


def compose_streams(handler: StreamHandler, *interceptors: StreamInterceptor) -> StreamHandler:
    """The handler wrapped in the interceptors, the first outermost. Called once, when the mesh is built."""
    for interceptor in reversed(interceptors):
        handler = partial(interceptor, handler)
    return handler


def around_stream(interceptor: Interceptor) -> StreamInterceptor:
    """Use an interceptor of calls for streaming calls, too: it wraps the whole life of the stream.

    It does not see the items. For its handler's caller the result of a server stream is None.
    """
    return partial(_around, interceptor)


async def _around(interceptor: Interceptor, handler: StreamHandler, call: Call, send: SendItem) -> Any:
    counted = send if isinstance(send, _Counted) else _Counted(send)

    async def inner(inner_call: Call) -> Any:
        if counted.any:
            text = f"{call.method}: an interceptor began the stream again after its first item"
            raise LocalError(Code.FAILED_PRECONDITION, text)
        return await handler(inner_call, counted)

    result = await interceptor(inner, call)
    if call.method.yields and result is not None:
        name = getattr(interceptor, "__qualname__", type(interceptor).__qualname__)
        text = f"{call.method} streams its result, but the interceptor {name} returned a value for it"
        raise LocalError(Code.FAILED_PRECONDITION, text)
    return result


class _Counted:
    """A `SendItem` that knows whether there was an item.

    Attributes:
        any: whether there was.
    """

    __slots__ = ("_send", "any")

    def __init__(self, send: SendItem) -> None:
        self._send = send
        self.any = False

    def __call__(self, item: Any) -> Awaitable[None]:
        self.any = True
        return self._send(item)


def without_items(handler: Handler) -> StreamHandler:
    """A handler of streaming calls that sends nothing, such as one that refuses every call."""

    async def run(call: Call, send: SendItem) -> Any:
        del send
        return await handler(call)

    return run
