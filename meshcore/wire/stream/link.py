"""What all connections do, whoever makes the calls: bytes, pings, and the end."""

from __future__ import annotations

from typing import Final

from meshcore.wire import frames
from meshcore.wire.frames import (
    VERSION,
    Feature,
    ProtocolError,
    Reason,
)
from meshcore.wire.stream.call import Call
from meshcore.wire.stream.calls import Calls
from meshcore.wire.stream.control import Control, PeerError
from meshcore.wire.stream.events import Event, Failed, Lost, Writable
from meshcore.wire.stream.heartbeat import Heartbeat
from meshcore.wire.stream.intake import Lane
from meshcore.wire.stream.limits import Limits, settings_of
from meshcore.wire.stream.receiver import Receiver
from meshcore.wire.stream.states import State

LAST_NUMBER: Final = 2**32 - 1
"""Calls that a connection can carry. At 50,000 calls/s that is a day; then the client needs another connection."""

_DEFAULT_LIMITS: Final = Limits()
_VERSIONS: Final = (VERSION, VERSION)
_INCOMPLETE: Final = (State.REQUEST, State.REQUEST_BEFORE_ITEMS)


class Link:
    """The base of `Connection`, which says what its arguments are."""

    def __init__(
        self,
        *,
        client: bool,
        now: float,
        limits: Limits = _DEFAULT_LIMITS,
        ping_interval: float = 10.0,
        ping_timeout: float = 5.0,
        versions: tuple[int, int] = _VERSIONS,
        features: int = Feature.STREAMS | Feature.TRACE,
    ) -> None:
        if problem := limits.problem():
            raise ValueError(problem)
        self._calls = calls = Calls(client=client, limits=limits)
        self._by_number = calls.by_number
        self._outbox = outbox = calls.outbox
        self._out, self._credit = outbox.out, outbox.credit
        self._heartbeat = Heartbeat(ping_interval, ping_timeout, now, outbox.write)
        self._receiver = Receiver(calls, Control(calls, self._heartbeat, versions, features))
        # Bytes of requests that were answered since the last write. Saves 0.2 us: their credit is given back together.
        self._answered = 0
        self._handed_out = 0  # the last call that `data_to_send` has begun
        self._failed: dict[int, Call] = {}
        self._closed = False
        outbox.write(frames.hello(versions, features, settings_of(limits)))

    # State

    @property
    def ready(self) -> bool:
        """Whether the peer's hello has come."""
        return self._calls.peer is not None

    @property
    def room(self) -> int:
        """Client: how many calls may be begun now. 0 before `Ready` and when the connection is `exhausted`."""
        calls = self._calls
        return max(min(calls.peer_calls - len(self._by_number), LAST_NUMBER - calls.last), 0)

    @property
    def exhausted(self) -> bool:
        """Whether no call can be begun any more: after `GoneAway` or `Failed`, or because all numbers are used."""
        return self._closed or self._calls.draining or self._calls.last >= LAST_NUMBER

    @property
    def calls(self) -> int:
        """Calls that are not over."""
        return len(self._by_number)

    @property
    def closed(self) -> bool:
        """Whether the connection is over: `Failed` was reported, or `lost` was called. All methods do nothing then."""
        return self._closed

    @property
    def held(self) -> int:
        """Bytes of the peer's payloads that came and were not let go of."""
        return self._calls.intake.held - self._answered

    @property
    def waiting(self) -> int:
        """Bytes of payloads that wait for their turn or for the peer's credit."""
        return self._outbox.waiting_bytes

    # Bytes

    def feed(self, data: bytes, now: float) -> list[Event]:
        """Take in what was read: any part of the peer's bytes, in order.

        Never raises for what a peer sends: that ends in `Failed`.
        """
        if self._closed:
            return []
        if self._heartbeat.waiting:
            self._heartbeat.heard(now)
        try:
            self._receiver.feed(data, now)
        except ProtocolError as error:
            self._fail(error)
        if self._outbox.writable:
            return self.progress()
        events, self._calls.events = self._calls.events, []
        return events

    @property
    def pending(self) -> bool:
        """Whether `data_to_send` has something. Payloads that wait for credit do not count."""
        return self._outbox.pending

    def data_to_send(self, most: int = 256 * 1024) -> bytes:
        """What is to be written now, in one write: all small frames, and chunks of large messages in turn.

        Args:
            most: bytes from which on no further chunk is added, after the first; 0 for no chunk at all. Look at
                `pending` afterwards; ask again when the transport has taken this.
        """
        self._handed_out = self._calls.last
        self._calls.replies = 0
        if self._answered:
            self._calls.intake.give(Lane.SMALL, self._answered)
            self._answered = 0
        return self._outbox.take(most)

    def progress(self) -> list[Event]:
        """Events that come of writing, `Writable` for one: to be asked for after `data_to_send`."""
        calls = self._calls
        events, calls.events = calls.events, []
        if self._outbox.writable:
            events[:0] = map(Writable, self._outbox.writable)
            self._outbox.writable.clear()
        return events

    @property
    def next_tick(self) -> float:
        """When `tick` is to be called at the latest."""
        return self._heartbeat.next

    def tick(self, now: float) -> list[Event]:
        """Send a ping if it is time; `Failed` if the peer is dead. May be called at any time."""
        if self._closed:
            return []
        try:
            self._heartbeat.tick(now)
        except ProtocolError as error:
            self._fail(error)
        return self.progress()

    def lost(self) -> list[Lost]:
        """The transport is closed: the calls that were in flight. Of a server: those whose work is to be stopped.

        Nothing is sent afterwards, and who asks again gets nothing.
        """
        self._close()
        calls = [call for call in self._failed.values() if not call.deaf]
        self._failed = {}
        self._out.clear()
        if self._calls.client:
            handed_out = self._handed_out
            return [Lost(each.number, each.number <= handed_out and each.ours not in _INCOMPLETE) for each in calls]
        begun = [each for each in calls if not each.ending and each.theirs not in _INCOMPLETE]
        return [Lost(each.number, processed=True) for each in begun]

    def _fail(self, error: ProtocolError) -> None:
        if isinstance(error, PeerError):
            self._handed_out = min(self._handed_out, error.last)
        elif error.reason is not Reason.SILENT:
            last = 0 if self._calls.client else self._calls.last
            self._outbox.write(frames.go_away(error.reason, last, error.text))
        self._close()
        self._calls.events.append(Failed(error.reason, error.text))

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._calls.peer_calls = 0
            self._failed = dict(self._by_number)
            self._by_number.clear()
            self._outbox.close()
