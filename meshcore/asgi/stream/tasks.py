"""Starts the calls of one connection. Only those that have to wait are tasks that the event loop knows."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from meshcore.stream.eager import start


class CallTasks:
    """The tasks of the calls that have begun and not ended.

    Attributes:
        running: these tasks.
    """

    def __init__(self) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def start(self, call: Coroutine[Any, Any, None], *, at_once: bool) -> None:
        """Run a call.

        Args:
            call: that is run.
            at_once: up to where it waits, if Python can do that. Most calls end before. That saves 2.9 of 12.6 us, for
                a handle and a callback of the loop, and a turn of the loop before the answer.
        """
        task = start(self._loop, call) if at_once else self._loop.create_task(call)
        if not task.done():
            self.running.add(task)
            task.add_done_callback(self.running.discard)
