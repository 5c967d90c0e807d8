"""Credit that this side gives: how much of the peer's payloads it holds, and when the peer may send more."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from meshcore.wire.frames import ProtocolError, Reason, credit
from meshcore.wire.stream.limits import Limits


class Lane(IntEnum):
    """Payloads have credit by their kind, so that slow readers of streams and large messages hold up no small call."""

    SMALL = 0
    """Payloads of requests, answers and errors that come in one frame."""
    LARGE = 1
    """The same in chunks."""
    ITEMS = 2
    """Items of streams."""


class Intake:
    """Counts what came and what was let go of, for a whole connection.

    Args:
        limits: of this side.
        write: takes frames.
    """

    def __init__(self, limits: Limits, write: Callable[[bytes], object]) -> None:
        self._limits = (limits.small_bytes, limits.large_bytes, limits.stream_bytes)
        # Small frames and items: credit goes back a quarter at a time. Messages in chunks are few, and one may need all
        # of the credit: it goes back at once.
        self._enough = (max(limits.small_bytes // 4, 1), 1, max(limits.stream_bytes // 4, 1))
        self._write = write
        self._lent = [0, 0, 0]
        self._owed = [0, 0, 0]

    def take(self, lane: int, size: int) -> None:
        """The peer has sent so many bytes.

        Raises:
            ProtocolError: it had no credit for them.
        """
        self._lent[lane] += size
        if self._lent[lane] > self._limits[lane]:
            text = f"{self._lent[lane]} bytes of {Lane(lane).name} payloads, there was credit for {self._limits[lane]}"
            raise ProtocolError(Reason.CREDIT, text)

    def pass_on(self, lane: int, size: int) -> None:
        """So many bytes have come, and are let go of at once.

        Raises:
            ProtocolError: as `take`.
        """
        self._owed[lane] += size
        self._lent[lane] += size
        if self._lent[lane] > self._limits[lane]:
            self.take(lane, 0)
        if self._owed[lane] >= self._enough[lane]:
            self.give(lane, 0)

    def give(self, lane: int, size: int) -> None:
        """So many bytes are let go of."""
        self._owed[lane] += size
        if self._owed[lane] >= self._enough[lane]:
            self._write(credit(*self._owed))
            for each in Lane:
                self._lent[each] -= self._owed[each]
                self._owed[each] = 0

    @property
    def held(self) -> int:
        """Bytes that came and were not let go of."""
        return sum(self._lent) - sum(self._owed)
