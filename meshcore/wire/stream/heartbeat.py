"""Pings: the round-trip time of a connection, and whether the peer is there at all."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from meshcore.wire.frames import Kind, ProtocolError, Reason, frame

_BODY = Struct(">Q")


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
            raise ProtocolError(Reason.PROTOCOL, f"PONG {body[:16].hex()} answers no PING")
        seconds = now - self._sent
        self._sent = None
        return seconds


def check_ping(body: bytes) -> None:
    """Check what is to be sent back.

    Raises:
        ProtocolError: it has another size.
    """
    if len(body) != _BODY.size:
        raise ProtocolError(Reason.PROTOCOL, f"PING has a body of {len(body)} bytes, not {_BODY.size}")
