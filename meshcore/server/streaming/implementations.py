"""Runs the implementations of streaming methods: async generators on the event loop, generators in a worker thread."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from meshcore.core.call import Call, SendItem
from meshcore.core.context.current_call import ambient_call
from meshcore.core.description import Method, ServiceDescription, Shape
from meshcore.core.errors import Code, ImplementationError, LocalError, MeshError
from meshcore.core.streaming.item_buffer import StreamClosedError
from meshcore.core.streaming.pipe import END, wait_for_loop
from meshcore.server.implementations import ScopedObject, below_in_thread, hide_foreign
from meshcore.server.worker_threads import WorkerThreads

_Borrow: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]


class StreamImplementations:
    """The handler that runs implementations of streaming methods. How to run each is decided when it is added."""

    def __init__(self, workers: WorkerThreads) -> None:
        self._workers = workers
        self._table: dict[Method, tuple[_Borrow, bool, str]] = {}

    def add(self, service: ServiceDescription, implementation: object, component: str = "") -> None:
        """Serve the streaming methods of a service of a component with an object."""

        @asynccontextmanager
        async def borrow() -> AsyncGenerator[object]:
            yield implementation

        self._add(service, type(implementation), borrow, component)

    def add_scoped(self, service: ServiceDescription, cls: type, scoped: ScopedObject, component: str = "") -> None:
        """Serve the streaming methods of a service of a component with an object that is made for each call."""
        self._add(service, cls, scoped, component)

    def _add(self, service: ServiceDescription, cls: type, borrow: _Borrow, component: str) -> None:
        for method in service.methods:
            if method.shape is not Shape.UNARY:
                in_loop = _runs_in_loop(method, getattr(cls, method.name, None))
                self._table[method] = borrow, in_loop, component

    async def __call__(self, call: Call, send: SendItem) -> Any:
        """Run the implementation, and send what it yields.

        Raises:
            LocalError: this process does not implement the method.
        """
        found = self._table.get(call.method)
        if found is None:
            raise LocalError(Code.UNIMPLEMENTED, f"{call.method} is not implemented in this process")
        borrow, in_loop, component = found
        token = ambient_call.set((call, component))
        try:
            async with borrow() as implementation:
                if in_loop:
                    return await _run(call, getattr(implementation, call.method.name), send)
                return await self._run_in_thread(call, implementation, send)
        except (MeshError, asyncio.CancelledError) as error:
            hide_foreign(call, error)
            raise
        finally:
            ambient_call.reset(token)

    async def _run_in_thread(self, call: Call, implementation: object, send: SendItem) -> Any:
        method, loop = call.method, asyncio.get_running_loop()
        function = below_in_thread(implementation, method.name) or getattr(implementation, method.name)
        positional, named = _bound(call, lambda items: _for_thread(items, loop))

        def pass_on(item: Any) -> None:
            wait_for_loop(loop, _sent(send, item))

        def generate() -> None:
            made = function(*positional, **named)
            try:
                for item in _checked(method, made, "__iter__"):
                    pass_on(item)
            except StreamClosedError:  # the caller has left, so nobody needs the rest
                return
            finally:
                if inspect.isgenerator(made):
                    made.close()

        if method.yields:
            return await self._workers.run(functools.update_wrapper(generate, function, updated=()))
        return await self._workers.run(function, *positional, **named)


async def _run(call: Call, function: Callable[..., Any], send: SendItem) -> Any:
    positional, named = _bound(call, lambda items: items)
    made = function(*positional, **named)
    if not call.method.yields:
        return await made
    try:
        async for item in _checked(call.method, made, "__aiter__"):
            await send(item)
    finally:
        # If its caller leaves while it is suspended, nothing was thrown into it.
        if inspect.isasyncgen(made):
            await made.aclose()
    return None


async def _sent(send: SendItem, item: Any) -> None:
    await send(item)


def _for_thread(items: Any, loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    """The items of a caller for a thread. An interceptor may have put an iterator of its own in their place."""
    if hasattr(items, "blocking"):
        yield from items.blocking(loop)
        return
    while (item := wait_for_loop(loop, _next(items))) is not END:
        yield item


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, END)


def _runs_in_loop(method: Method, declared: Any) -> bool:
    """Whether an implementation runs on the event loop. A plain `def` may make an async iterator there."""
    if inspect.isasyncgenfunction(declared) or inspect.iscoroutinefunction(declared):
        return True
    if inspect.isgeneratorfunction(declared):
        return False
    return method.yields and method.is_async


def _bound(call: Call, form: Callable[[Any], Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments by position and by name, with the stream among them in the form that the implementation reads."""
    method = call.method
    values = [
        form(value) if parameter.stream else value
        for parameter, value in zip(method.parameters, call.arguments, strict=True)
    ]
    by_name = [parameter.name for parameter in method.parameters if parameter.keyword_only]
    at = len(values) - len(by_name)
    return values[:at], dict(zip(by_name, values[at:], strict=True))


def _checked(method: Method, made: Any, wanted: str) -> Any:
    """What an implementation returned, if it can be iterated."""
    if hasattr(made, wanted):
        return made
    if inspect.iscoroutine(made):
        made.close()
    text = f"the implementation of {method} returned {type(made).__name__}, which has no items: it has to yield them"
    raise ImplementationError(text)
