"""The handler that runs implementations: in the event loop, in a thread, or on an object made for the call."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from meshcore.core.call import LOCAL_PEER, Call
from meshcore.core.current_call import ambient_call
from meshcore.core.description import Method, ServiceDescription
from meshcore.core.errors import Code, ImplementationError, LocalError, MeshError, is_from_a_call
from meshcore.core.threads import Workers

Run = Callable[..., Awaitable[Any]]

Lend = Callable[[], AbstractAsyncContextManager[Any]]


class Implementations:
    """A handler that runs implementations. What a method needs is decided when the table is built, not per call."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._table: dict[Method, tuple[Run, str]] = {}

    def add(self, service: ServiceDescription, implementation: object, component: str = "") -> None:
        """Serve a service of a component by an object."""
        for method in service.methods:
            function = getattr(implementation, method.name)
            # Asked of the class: advice may have replaced the object's own attribute by a plain function.
            in_loop = inspect.iscoroutinefunction(getattr(type(implementation), method.name))
            run = _keywords_by_name(method, function if in_loop else self._in_thread(function))
            self._table[method] = run, component

    def add_scoped(self, service: ServiceDescription, cls: type, lend: Lend, component: str = "") -> None:
        """Serve a service of a component by an object of a class that is made for each call."""
        for method in service.methods:
            run = functools.partial(self._run_lent, lend, method.name)
            if not inspect.iscoroutinefunction(getattr(cls, method.name)):
                run = functools.partial(self._run_lent_in_thread, lend, method.name)
            self._table[method] = _keywords_by_name(method, run), component

    async def __call__(self, call: Call) -> Any:
        """Run the implementation.

        Raises:
            LocalError: nothing here implements the method.
        """
        found = self._table.get(call.method)
        if found is None:
            raise LocalError(Code.UNIMPLEMENTED, f"{call.method} is not implemented in this process")
        run, component = found
        # Here, innermost, so that an implementation sees what the interceptors made of the call.
        token = ambient_call.set((call, component))
        try:
            return await run(*call.arguments)
        except (MeshError, asyncio.CancelledError) as error:
            self._pass_on(call, error)
            raise
        finally:
            ambient_call.reset(token)

    def _pass_on(self, call: Call, error: MeshError | asyncio.CancelledError) -> None:
        """See what an error that an implementation lets pass is to its caller.

        Raises:
            ImplementationError: none of the caller's: it is of a call that the implementation has made, or the
                implementation has waited for something that was cancelled, and not with it.
        """
        if isinstance(error, MeshError):
            if call.peer == LOCAL_PEER:
                error.from_local_call = True
            elif is_from_a_call(error):
                raise ImplementationError from error
        elif call.peer != LOCAL_PEER and (task := asyncio.current_task()) is not None and not task.cancelling():
            raise ImplementationError from error

    def _in_thread(self, function: Callable[..., Any]) -> Run:
        return functools.partial(self._run_in_thread, function)

    async def _run_in_thread(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        result = await self._workers.run(function, *arguments, **keywords)
        # A plain decorator hides that a method is async: then the thread has only made the coroutine.
        return await result if inspect.isawaitable(result) else result

    async def _run_lent(self, lend: Lend, name: str, *arguments: Any, **keywords: Any) -> Any:
        async with lend() as implementation:
            return await getattr(implementation, name)(*arguments, **keywords)

    async def _run_lent_in_thread(self, lend: Lend, name: str, *arguments: Any, **keywords: Any) -> Any:
        async with lend() as implementation:
            return await self._run_in_thread(getattr(implementation, name), *arguments, **keywords)


def _keywords_by_name(method: Method, run: Run) -> Run:
    """Arguments travel by position; those of keyword-only parameters, which come last, are passed by name."""
    names = tuple(parameter.name for parameter in method.parameters if parameter.keyword_only)
    if not names:
        return run

    async def run_by_name(*arguments: Any) -> Any:
        at = len(arguments) - len(names)
        return await run(*arguments[:at], **dict(zip(names, arguments[at:], strict=True)))

    return run_by_name
