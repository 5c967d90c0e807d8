"""What ended the code of a user: a failure, a cancellation, or a signal."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from meshcore.core.context.call_scope import failure_of
from meshcore.core.errors import ImplementationError

SIGNALS = """
import asyncio
import signal
import sys

from meshcore.core.context.call_scope import failure_of


def leave(*_):
    sys.exit(3)


def raised(function):
    try:
        function()
    except BaseException as error:
        return failure_of(error) is not None
    return "nothing"


async def main():
    signal.raise_signal(signal.SIGINT)  # asyncio cancels the task at the first, and interrupts it at the second
    print(raised(lambda: signal.raise_signal(signal.SIGINT)), raised(interrupt))


def interrupt():
    raise KeyboardInterrupt


print(raised(lambda: signal.raise_signal(signal.SIGINT)))
signal.signal(signal.SIGTERM, leave)
print(raised(lambda: signal.raise_signal(signal.SIGTERM)), raised(lambda: sys.exit(3)))
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("ended")
"""


def test_signals_go_on_and_all_else_is_a_failure() -> None:
    """Whoever handles a signal: the interpreter, a handler of the program, or asyncio."""
    done = subprocess.run([sys.executable, "-c", SIGNALS], capture_output=True, text=True, check=False, timeout=60)
    found = done.stdout.split()
    assert (done.returncode, found, done.stderr) == (
        0,
        ["False", "False", "True", "False", "True", "ended"],
        "",
    )


@pytest.mark.parametrize("error", [SystemExit(2), BaseExceptionGroup("two", [SystemExit()]), asyncio.CancelledError()])
async def test_a_failure_has_its_error_as_the_cause(error: BaseException) -> None:
    """So that the log shows it. A cancellation that nobody asked for is a failure, too."""
    failure = failure_of(error)
    assert isinstance(failure, ImplementationError)
    assert failure.__cause__ is error


async def test_an_exception_is_the_failure_itself() -> None:
    """Nothing wraps it."""
    error = ValueError("x")
    assert failure_of(error) is error


async def test_a_cancellation_goes_on() -> None:
    """The task is being cancelled."""
    found: list[Exception | None] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(10)
        except BaseException as error:
            found.append(failure_of(error))
            raise

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert (found, task.cancelled()) == ([None], True)


def test_a_coroutine_that_is_closed_goes_on() -> None:
    """No loop runs any more."""
    assert failure_of(GeneratorExit()) is None


def test_an_interrupt_in_a_thread_is_a_failure() -> None:
    """Signals reach the main thread only."""
    found: list[Exception | None] = []
    thread = threading.Thread(target=lambda: found.append(failure_of(KeyboardInterrupt())))
    thread.start()
    thread.join()
    assert isinstance(found[0], ImplementationError)
