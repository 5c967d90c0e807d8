"""Types of what another process tells: reading it fails if a number or a text is beyond what a process can have."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

_MOST = 1 << 53
"""JavaScript has no larger numbers that are exact."""

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e10)]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=1000)]
Counts: TypeAlias = Annotated[tuple[Count, ...], msgspec.Meta(max_length=100)]
"""By bucket of a histogram."""

Few = msgspec.Meta(max_length=100)
Many = msgspec.Meta(max_length=10_000)


def told(count: int) -> int:
    """The number, or the largest that may be told: sums may be larger."""
    return min(count, _MOST)
