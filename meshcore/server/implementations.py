"""Runs implementations: in the event loop, in a worker thread, or on an object that is made for the call."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import MethodType
from typing import Any

from meshcore.core.call import LOCAL_PEER, Call
from meshcore.core.context.current_call import ambient_call
from meshcore.core.context.threads import awaited
from meshcore.core.description import Method, ServiceDescription, Shape
from meshcore.core.errors import Code, ImplementationError, LocalError, MeshError, is_from_a_call
from meshcore.core.marks import find_mark
from meshcore.declare.services import InThreadMark
from meshcore.server.worker_threads import WorkerThreads

Run = Callable[..., Awaitable[Any]]

ScopedObject = Callable[[], AbstractAsyncContextManager[Any]]
"""Makes an object of an implementation class for one call, and cleans it up after that."""


class Implementations:
    """The handler that runs implementations. How to run each method is decided when it is added, not per call."""

    def __init__(self, workers: WorkerThreads) -> None:
        self._workers = workers
        self._table: dict[Method, tuple[Run, str]] = {}

    def add(self, service: ServiceDescription, implementation: object, component: str = "") -> None:
        """Serve a service of a component with an object."""
        for method in service.methods:
            if method.shape is not Shape.UNARY:  # of `StreamImplementations`
                continue
            function = getattr(implementation, method.name)
            # Read from the class: advice may have replaced the object's own attribute by a plain function.
            declared = getattr(type(implementation), method.name, None)
            in_loop = inspect.iscoroutinefunction(declared)
            if declared is None and method.is_async:  # a mock, which may be of another form than the method
                in_loop, function = True, functools.partial(_call_and_await, function)
            if blocking := below_in_thread(implementation, method.name):
                in_loop, function = False, blocking
            run = _keywords_by_name(method, function if in_loop else self._in_thread(function))
            self._table[method] = run, component

    def add_scoped(self, service: ServiceDescription, cls: type, scoped: ScopedObject, component: str = "") -> None:
        """Serve a service of a component with an object of a class that is made for each call."""
        for method in service.methods:
            if method.shape is not Shape.UNARY:
                continue
            run = functools.partial(self._run_scoped, scoped, method.name)
            declared = getattr(cls, method.name)
            if find_mark(declared, InThreadMark) is not None or not inspect.iscoroutinefunction(declared):
                run = functools.partial(self._run_scoped_in_thread, scoped, method.name)
            self._table[method] = _keywords_by_name(method, run), component

    async def __call__(self, call: Call) -> Any:
        """Run the implementation.

        Raises:
            LocalError: this process does not implement the method.
        """
        found = self._table.get(call.method)
        if found is None:
            raise LocalError(Code.UNIMPLEMENTED, f"{call.method} is not implemented in this process")
        run, component = found
        # Set innermost, so that an implementation sees the call as the interceptors left it.
        token = ambient_call.set((call, component))
        try:
            return await run(*call.arguments)
        except (MeshError, asyncio.CancelledError) as error:
            hide_foreign(call, error)
            raise
        finally:
            ambient_call.reset(token)

    def _in_thread(self, function: Callable[..., Any]) -> Run:
        return functools.partial(self._run_in_thread, function)

    async def _run_in_thread(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        result = await self._workers.run(function, *arguments, **keywords)
        # A plain decorator can hide that a method is async. The thread then has only made the coroutine.
        return await result if inspect.isawaitable(result) else result

    async def _run_scoped(self, scoped: ScopedObject, name: str, *arguments: Any, **keywords: Any) -> Any:
        async with scoped() as implementation:
            return await getattr(implementation, name)(*arguments, **keywords)

    async def _run_scoped_in_thread(self, scoped: ScopedObject, name: str, *arguments: Any, **keywords: Any) -> Any:
        async with scoped() as implementation:
            function = below_in_thread(implementation, name) or getattr(implementation, name)
            return await self._run_in_thread(function, *arguments, **keywords)


def hide_foreign(call: Call, error: MeshError | asyncio.CancelledError) -> None:
    """Hide an error from a remote caller if it is not about the caller's own call.

    Raises:
        ImplementationError: the error is that of a call which the implementation made, or something that the
            implementation waited for was cancelled, but not the call itself.
    """
    if isinstance(error, MeshError):
        if call.peer == LOCAL_PEER:
            error.from_local_call = True
        elif is_from_a_call(error):
            raise ImplementationError from error
    elif call.peer != LOCAL_PEER and (task := asyncio.current_task()) is not None and not task.cancelling():
        raise ImplementationError from error


def below_in_thread(implementation: object, name: str) -> Callable[..., Any] | None:
    """The `def` that `@in_thread` decorates; None if there is none, or advice or another decorator is around it."""
    declared = getattr(type(implementation), name, None)
    mark = find_mark(declared, InThreadMark)
    if mark is None or mark.function is not getattr(declared, "__wrapped__", None):
        return None
    return None if name in getattr(implementation, "__dict__", {}) else MethodType(mark.function, implementation)


async def _call_and_await(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    return await awaited(function(*arguments, **keywords))


def _keywords_by_name(method: Method, run: Run) -> Run:
    """A runner that passes the last arguments by name, if the method has keyword-only parameters."""
    names = tuple(parameter.name for parameter in method.parameters if parameter.keyword_only)
    if not names:
        return run

    async def run_by_name(*arguments: Any) -> Any:
        at = len(arguments) - len(names)
        return await run(*arguments[:at], **dict(zip(names, arguments[at:], strict=True)))

    return run_by_name
