"""Keeps `sys.exit()` in a task from ending the event loop.

asyncio raises a `SystemExit` or `KeyboardInterrupt` of any task out of the loop. So the process would stop to serve if
one call ran it with `asyncio.gather`. In the tasks that the mesh and its calls start it is an ordinary exception here,
which whoever awaits the task gets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any, NoReturn

from meshcore.core.call import ambient_deadline
from meshcore.core.context.call_scope import failure_of
from meshcore.core.context.current_call import ambient_call

log = logging.getLogger(__name__)

# Whether the current code belongs to a mesh, besides the calls that it serves.
_in_mesh: ContextVar[bool] = ContextVar("_in_mesh", default=False)


def guard_tasks() -> None:
    """Guard the tasks that the current task and its tasks start from now on, if the loop guards tasks."""
    _in_mesh.set(True)


@contextmanager
def tasks_guarded() -> Generator[None]:
    """While the context lasts, the running loop guards the tasks of meshes and of served calls."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        # Tasks of the server, one for each request, are not guarded: that would take 0.6 us.
        if ambient_deadline.get() < inf or ambient_call.get() is not None or _in_mesh.get():
            coroutine = _Guarded(coroutine)
        if before is not None:
            return before(loop, coroutine, **options)
        # Without options, as nearly always: to pass on none would take 0.2 us.
        return asyncio.Task(coroutine, loop=loop, **options) if options else asyncio.Task(coroutine, loop=loop)

    loop.set_task_factory(make)
    try:
        yield
    finally:
        if loop.get_task_factory() is make:  # somebody else's wraps this one, and needs it
            loop.set_task_factory(before)


class _Guarded(Coroutine[Any, Any, Any]):
    """A coroutine that raises no `SystemExit` and no `KeyboardInterrupt`, unless a signal caused it.

    An object and no `async def`: a task that is cancelled before its first step then ends the coroutine, as it should.
    """

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def send(self, value: Any) -> Any:
        try:
            return self._coroutine.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            self._raise(error)

    def throw(self, *error: Any) -> Any:
        try:
            return self._coroutine.throw(*error)
        except (SystemExit, KeyboardInterrupt) as raised:
            self._raise(raised)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # its name, frame and code, for debuggers and logs

    def _raise(self, error: SystemExit | KeyboardInterrupt) -> NoReturn:
        failure = failure_of(error)
        if failure is None:
            raise error
        name = getattr(self._coroutine, "__qualname__", type(self._coroutine).__name__)
        log.error("%s was raised in the task of %s; the process goes on", type(error).__name__, name, exc_info=error)
        raise failure from error
