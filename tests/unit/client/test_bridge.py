"""A call that another thread makes, and an interrupt at the worst moments."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshcore.client.bridge import Bridge


class InterruptedLoop(asyncio.SelectorEventLoop):
    """A loop that interrupts the thread which has just handed something over, as Ctrl-C may.

    Attributes:
        begun: set when what was handed over runs; None if nobody is to be interrupted.
    """

    begun: threading.Event | None = None

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        begun, self.begun = self.begun, None
        if begun is not None:
            assert begun.wait(20)
            raise KeyboardInterrupt
        return handle


@pytest.fixture
def loop() -> Iterator[InterruptedLoop]:
    """One that runs in a thread of its own."""
    loop = InterruptedLoop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_an_interrupt_just_after_the_call_was_handed_over_cancels_it(loop: InterruptedLoop) -> None:
    """What the loop has got already is not forgotten there: nobody would ever cancel it."""
    begun, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    loop.begun = begun
    with pytest.raises(KeyboardInterrupt):
        Bridge(loop).run("wait()", wait())
    assert ended.wait(20)
