"""The signals that processes under test start with."""

from __future__ import annotations

import signal
from types import FrameType

# Python ignores these itself, and gives its child processes the default back.
_OF_PYTHON = frozenset({signal.SIGPIPE, signal.SIGXFSZ})


def restore_defaults() -> None:
    """Let child processes start with the default action of signals that this process was started to ignore.

    A shell makes a command that it starts in the background ignore SIGINT and SIGQUIT, and `nohup` SIGHUP. Child
    processes inherit that, and Python then leaves KeyboardInterrupt out. A handler is not inherited: the child process
    has the default action instead.
    """
    for number in signal.valid_signals() - _OF_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            # Python's own handler of SIGINT, since asyncio handles Ctrl-C only in its place.
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _ignore)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The tests themselves go on when the terminal is closed."""
