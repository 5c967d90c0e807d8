"""Turns counting off and on in a running process, so that both are measured in the same processes, turn about.

Other processes differ by more than what counting costs: in where their memory lies, and in the seeds of their hashes.
`SIGUSR1` turns it off in a server, `SIGUSR2` on.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType
from typing import Any

from benchmarks.served import BenchComponentImpl, EchoPricing
from meshcore import module
from meshcore.asgi import served_call
from meshcore.asgi.stream import unary
from meshcore.core.attempt import Attempt
from meshcore.telemetry.calls import ClientCalls

_COUNT, _SUCCEED = served_call.count_success, ClientCalls.succeed


def _no_count(*_: Any) -> None:
    """Count nothing."""


def _no_succeed(_calls: ClientCalls, _seconds: float, _trail: Sequence[Attempt]) -> None:
    """Count nothing."""


def turn(*, on: bool) -> None:
    """Count calls from now on, or not."""
    served_call.count_success = unary.count_success = _COUNT if on else _no_count
    ClientCalls.succeed = _SUCCEED if on else _no_succeed  # type: ignore[method-assign]


def _turned(number: int, _: FrameType | None) -> None:
    turn(on=number == signal.SIGUSR2)


@module(provides=[EchoPricing, BenchComponentImpl])
class SwitchedModule:
    """What a server process serves that can be switched."""

    def __init__(self) -> None:
        signal.signal(signal.SIGUSR1, _turned)
        signal.signal(signal.SIGUSR2, _turned)
