"""Runs a demonstration in a folder of its own, so that a signal ends it in order and nothing is left."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast


async def run_to_the_end(
    show: Callable[[Path], Awaitable[int]], tell: Callable[[str], None], *, wanted: tuple[signal.Signals, ...] = ()
) -> int:
    """Run `show` in a folder that is removed afterwards; cancel it on SIGINT, SIGTERM and SIGHUP.

    Args:
        show: is given the folder, and returns the exit status.
        tell: shows a line.
        wanted: signals that are the usual end, after which the status is 0.

    Returns:
        The exit status, 128 plus the number of a signal that ended it.
    """
    main = cast("asyncio.Task[int]", asyncio.current_task())
    received = 0

    def interrupt(number: int) -> None:
        nonlocal received
        if not received:  # a second signal must not disturb the clean-up
            received = number
            main.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    try:
        with tempfile.TemporaryDirectory(prefix="meshcore-demo-") as folder:
            return await show(Path(folder))
    except asyncio.CancelledError:
        if not received:
            raise
        tell(f"{signal.Signals(received).name}: the servers have ended, nothing is left")
        return 0 if received in wanted else 128 + received
