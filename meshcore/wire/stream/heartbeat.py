"""Pings: the round-trip time of a connection, whether the peer is there at all, and how far it lags behind."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from meshcore.wire.frames import Kind, ProtocolError, Reason, frame

_BODY = Struct(">Q")
_MARK: Final = 2**63

AHEAD: Final = 2**21
"""Bytes of chunks that may be on their way. A system takes 4 to 8 MiB on each connection, proxies more, and all that
comes later waits behind that. With this bound, small calls beside answers of 50 MiB take a sixth of the time. Half of
it would take a tenth more of the processors for messages of 100 KB, this takes some 3 %."""

_PART: Final = AHEAD // 2


class Heartbeat:
    """Sends a ping from time to time. Anything that comes shows that the peer lives.

    Args:
        interval: seconds between pings.
        timeout: seconds after a ping in which something must come. The same holds for the peer's hello.
        now: the monotonic time.
        write: takes frames.

    Attributes:
        waiting: whether something has to come, since a ping or the beginning.
        next: when `tick` has something to do.
    """

    def __init__(self, interval: float, timeout: float, now: float, write: Callable[[bytes], object]) -> None:
        self._interval = interval
        self._timeout = timeout
        self._write = write
        self._number = 0
        self._sent: float | None = None  # the time of the ping that has no answer yet
        self._since = now
        self.waiting = True
        self.next = now + timeout

    def heard(self, now: float) -> None:
        """Something has come after `waiting`."""
        if self.waiting:
            self.waiting = False
            self.next = now + self._interval

    def tick(self, now: float) -> None:
        """Send a ping if it is time.

        Raises:
            ProtocolError: the peer is dead.
        """
        if now < self.next:
            return
        if self.waiting:
            raise ProtocolError(Reason.SILENT, f"nothing came from the peer for {now - self._since:.3g} s")
        self._since, self.waiting = now, True
        self.next = now + self._timeout
        if self._sent is None:  # else the answer is still behind something large, which shows that the peer lives
            self._sent = now
            self._number += 1
            self._write(frame(Kind.PING, 0, _BODY.pack(self._number)))

    def pong(self, body: bytes, now: float) -> float:
        """The round-trip time.

        Raises:
            ProtocolError: it answers no ping of ours.
        """
        if self._sent is None or body != _BODY.pack(self._number):
            raise _no_ping(body)
        seconds = now - self._sent
        self._sent = None
        return seconds


class Window:
    """How many chunks of large messages may be on their way: the peer answers a ping after each part of them.

    Attributes:
        open: whether more may be sent.
    """

    def __init__(self) -> None:
        self.open = True
        self._ahead = 0  # bytes that were sent, and not confirmed
        self._part = 0  # those of them that were sent after the last ping
        self._number = _MARK
        self._parts: list[int] = []  # of each ping without an answer, the oldest first; there are two or three

    def sent(self, size: int) -> bytes:
        """So many bytes were sent; the ping that follows, if it is time for one."""
        self._ahead += size
        self._part += size
        self.open = self._ahead < AHEAD
        if self._part < _PART:
            return b""
        self._parts.append(self._part)
        self._part = 0
        self._number += 1
        return frame(Kind.PING, 0, _BODY.pack(self._number))

    def pong(self, body: bytes) -> bool:
        """Whether this answers a ping of these. Then more may be sent.

        Raises:
            ProtocolError: it answers another one than the oldest.
        """
        if not body or body[0] < _MARK >> 56:
            return False
        if not self._parts or body != _BODY.pack(self._number - len(self._parts) + 1):
            raise _no_ping(body)
        self._ahead -= self._parts.pop(0)
        self.open = self._ahead < AHEAD
        return True


def _no_ping(body: bytes) -> ProtocolError:
    return ProtocolError(Reason.PROTOCOL, f"PONG {body[:16].hex()} answers no PING")


def check_ping(body: bytes) -> None:
    """Check what is to be sent back.

    Raises:
        ProtocolError: it has another size.
    """
    if len(body) != _BODY.size:
        raise ProtocolError(Reason.PROTOCOL, f"PING has a body of {len(body)} bytes, not {_BODY.size}")
