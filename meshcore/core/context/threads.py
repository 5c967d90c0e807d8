"""The calls that are served in worker threads, and what the code in such a thread has to know of its call.

`server/worker_threads.py` runs `def` implementations in threads. `client/bridge.py` brings the calls that they make to
the loop of the mesh. Context variables, deadlines and cancellation work across both.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any

from meshcore.core.call import ambient_attempt, ambient_deadline
from meshcore.core.context.current_call import unbounded
from meshcore.core.errors import Code, LocalError


class ThreadCall:
    """A call that is served in a worker thread, with the calls that its implementation makes.

    Args:
        parent: the call in a worker thread that waits for this one, None if there is none.

    Attributes:
        parent: see above.
        depth: the number of calls in worker threads that wait for this one.
        ended: whether its thread has ended.
    """

    def __init__(self, parent: ThreadCall | None) -> None:
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.ended = False
        self.cancelled = False
        self.tasks: set[asyncio.Task[Any]] = set()

    def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call the function in the worker thread.

        A StopIteration is replaced: no future can carry it, and Python 3.11 would wait for the future for ever.
        """
        try:
            return function(*arguments, **keywords)
        except StopIteration as error:
            raise RuntimeError(f"{getattr(function, '__qualname__', function)} raised StopIteration") from error
        finally:
            self.ended = True

    def cancel(self) -> None:
        """Cancel the calls that the thread makes, now and later. The thread itself cannot be stopped."""
        self.cancelled = True
        for task in self.tasks:
            task.cancel()


# The call in a worker thread that the current code belongs to. Cancelling it cancels the calls that this code makes.
owning_call: ContextVar[ThreadCall | None] = ContextVar("owning_call", default=None)

# The call in a worker thread that may wait for the current code. Detached code has no owner, but a thread may still
# wait for it.
waiting_call: ContextVar[ThreadCall | None] = ContextVar("waiting_call", default=None)


@contextmanager
def detached() -> Generator[None]:
    """Within the context, calls do not belong to the call that the current code serves: see `Mesh.detached`."""
    tokens = ambient_deadline.set(inf), ambient_attempt.set(1), owning_call.set(None)
    try:
        with unbounded():
            yield
    finally:
        ambient_deadline.reset(tokens[0])
        ambient_attempt.reset(tokens[1])
        owning_call.reset(tokens[2])


async def awaited(result: Any) -> Any:
    """The result of a function that may be `def` or `async def`."""
    return await result if inspect.isawaitable(result) else result


async def caught(function: Callable[..., Any], *arguments: Any) -> tuple[Any, BaseException | None]:
    """The result of a function, or its error. A `SystemExit` must end the thread that called, not that of the loop."""
    try:
        return await awaited(function(*arguments)), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - raised in the thread
        return None, error


def forked_error(what: str, pid: int, whose: str = "its mesh") -> LocalError:
    """The error of a process that uses the mesh of the process that it was forked from.

    Args:
        what: what it did.
        pid: the other process.
        whose: what runs in the other process.
    """
    text = f"{what} in process {os.getpid()}, but {whose} runs in process {pid}, which forked this one"
    return LocalError(Code.FAILED_PRECONDITION, f"{text}: make a mesh after the fork, such as at its first use")
