"""What a `ReadScheduler` asks for."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class ReadService(msgspec.Struct, frozen=True):
    """Read a service without blocking, and report the outcome to `service_answered` or `service_failed`.

    Attributes:
        name: of the service.
        number: of the read. A service may be removed and added again during a read, whose answer is outdated then.
    """

    name: str
    number: int


class ReadChecks(msgspec.Struct, frozen=True):
    """Read the checks of all services, and report the outcome to `checks_answered` or `checks_failed`."""


class Idle(msgspec.Struct, frozen=True):
    """Do nothing until this time or the next report."""

    until: float


Step: TypeAlias = ReadService | ReadChecks | Idle
