"""Tasks that run up to where they wait for the first time before whoever starts them goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, Final

EAGER: Final = sys.version_info >= (3, 12)
"""Whether this Python has them."""

_task: Any = asyncio.Task  # the stubs of 3.11 do not know `eager_start`


def start(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task at once, or in the next turn of the loop before Python 3.12.

    It has a context of its own, and is the current task of what it runs. The loop's task factory does not see it.

    Args:
        loop: the running one.
        work: what it runs.
    """
    task: asyncio.Task[None] = _task(work, loop=loop, eager_start=True) if EAGER else loop.create_task(work)
    return task
