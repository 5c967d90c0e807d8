"""What a crowd's machine asks its shell to do next."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class ReadService(msgspec.Struct, frozen=True):
    """Read this service, without blocking, and tell the outcome by `answered` or `failed`.

    Attributes:
        name: which.
        number: of this read. It tells it from one that began before the service was left and watched again, which
            has older news.
    """

    name: str
    number: int


class ReadChecks(msgspec.Struct, frozen=True):
    """Read all checks, and tell the outcome by `checked` or `unchecked`."""


class Idle(msgspec.Struct, frozen=True):
    """Nothing to do before this, unless something is told."""

    until: float


Step: TypeAlias = ReadService | ReadChecks | Idle
