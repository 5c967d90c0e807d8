"""What is to be sent: small frames at once, chunks of large messages in turn, and what waits for the peer's credit."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from meshcore.wire.frames import HEAD, MORE, Kind, ProtocolError, Reason
from meshcore.wire.stream.call import Call, Outgoing
from meshcore.wire.stream.heartbeat import Window
from meshcore.wire.stream.intake import Lane
from meshcore.wire.stream.limits import Limits
from meshcore.wire.stream.states import Rows, State

LONGEST_OUT: Final = 65_536
"""Parts of frames that wait for a write. A side that has more sends no items, and a server refuses calls."""

_AT_ONCE: Final = 4_096
"""Parts of frames in one write. More would be copied several times on their way, all of them at the same time."""

_ITEM, _DATA, _END = int(Kind.ITEM), int(Kind.DATA), int(Kind.END)
_SMALL, _LARGE, _ITEMS = map(int, Lane)


class Outbox:
    """Puts frames in the order in which they are written, within the credit of the peer.

    Args:
        rows: the table of states of what this side sends.
        queued: bytes that this side is willing to have waiting.
        sent_all: told when the last frame of this side for a call is in `out`.

    Attributes:
        out: parts of frames that are written next, in order.
        credit: bytes that may be sent, for each lane.
        frame: bytes of the largest body of a frame.
        waiting_bytes: of messages that are not in `out` yet.
        window: how many chunks may be on their way.
        blocked_items: calls whose items wait for credit of the connection.
        writable: calls whose items were all sent after `send` had told their writer to wait.
    """

    def __init__(self, rows: Rows, queued: int, sent_all: Callable[[Call], None]) -> None:
        self.out: list[bytes | memoryview] = []
        self.credit = [0, 0, 0]
        self.frame = 0
        self.waiting_bytes = 0
        self.window = Window()
        self.writable: list[int] = []
        self._rows = rows
        self._queued = queued
        self._sent_all = sent_all
        self._most = [0, 0, 0]
        # Calls by number, in the order in which they are served. Each is in one of these at most, because of the first
        # message of its queue.
        self._turn: OrderedDict[int, Call] = OrderedDict()  # it has credit, and goes out in chunks
        self._blocked: dict[int, OrderedDict[int, Call]] = {_LARGE: OrderedDict(), _ITEMS: OrderedDict()}
        self.blocked_items = self._blocked[_ITEMS]
        self._held: OrderedDict[int, Call] = OrderedDict()  # it waits until `out` was written

    def open(self, limits: Limits) -> None:
        """Take the peer's limits."""
        self.frame = limits.frame
        # Whatever the peer takes, it is not kept here without bound while the peer does not read.
        small = min(limits.small_bytes, max(self._queued, limits.frame))
        self.credit[:] = self._most[:] = small, limits.large_bytes, limits.stream_bytes

    @property
    def pending(self) -> bool:
        """Whether there is something to write now."""
        return bool(self.out or (self._turn and self.window.open))

    def write(self, frame: bytes) -> None:
        """Add a frame that needs no credit."""
        self.out.append(frame)

    def say(self, call: Call, kind: int) -> None:
        """Add a frame of a call that has no body."""
        call.ours = state = self._rows[call.ours][kind]
        self.out.append(HEAD.pack(0, kind, call.number))
        if state is State.DONE:
            self._sent_all(call)

    def send(self, call: Call, kind: int, payload: bytes) -> bool:
        """Send a message, or the rest of a request, after what its call has sent before. Whether all is in `out`."""
        queue = _queue(call)
        queue.append(Outgoing(kind, payload))
        self.waiting_bytes += len(payload)
        if len(queue) == 1:
            self._advance(call)
        return not queue

    def drop(self, call: Call) -> None:
        """Forget what waits for a call."""
        if not call.queue:
            return
        first = call.queue[0]
        if first.lane is not None:
            self.credit[first.lane] += len(first.payload) - first.at
        self.waiting_bytes -= sum(len(each.payload) - each.at for each in call.queue)
        call.queue.clear()
        for calls in (self._turn, self._held, *self._blocked.values()):
            calls.pop(call.number, None)
        self._unblock()

    def grant(self, amounts: tuple[int, int, int]) -> None:
        """Take credit of the connection.

        Raises:
            ProtocolError: it is more than was used.
        """
        for lane, amount in enumerate(amounts):
            self.credit[lane] += amount
            if self.credit[lane] > self._most[lane]:
                text = f"CREDIT of {amount} bytes for {Lane(lane).name} payloads, which is more than was used"
                raise ProtocolError(Reason.CREDIT, text)
        self._unblock()

    def go_on(self, call: Call) -> None:
        """Send items of a call that has got credit."""
        if (
            call.queue
            and call.queue[0].lane is None
            and not any(call.number in each for each in self._blocked.values())
        ):
            self._advance(call)

    def take(self, most: int) -> bytes:
        """What is to be written."""
        if self._turn:
            self._add_chunks(most)
        out = self.out
        if len(out) > _AT_ONCE:
            data = b"".join(out[:_AT_ONCE])
            del out[:_AT_ONCE]
        else:
            data = b"".join(out)
            out.clear()
        while self._held and len(out) <= LONGEST_OUT:
            self._advance(self._held.popitem(last=False)[1])
        return data

    def close(self) -> None:
        """Forget all that is not in `out`."""
        for calls in (self._turn, self._held, *self._blocked.values()):
            calls.clear()
        self.waiting_bytes = 0

    def _add_chunks(self, most: int) -> None:
        # One chunk at least, however many small frames there are: else these could hold up a large message for ever.
        size = min(sum(map(len, self.out)), max(most - 1, 0))
        window = self.window
        while self._turn and size < most and window.open:
            number, call = next(iter(self._turn.items()))
            queue = _queue(call)
            message = queue[0]
            chunk = memoryview(message.payload)[message.at : message.at + self.frame]
            message.at += len(chunk)
            self.waiting_bytes -= len(chunk)
            size += len(chunk) + HEAD.size
            if message.at < len(message.payload):
                self._turn.move_to_end(number)
                self.whole(call, _DATA | MORE, chunk)
            else:
                del self._turn[number]
                queue.popleft()
                self.whole(call, _DATA, chunk)
                self._advance(call)
            if ping := window.sent(len(chunk)):
                self.out.append(ping)

    def whole(self, call: Call, kind: int, payload: bytes | memoryview) -> None:
        """Add a frame whose credit is taken."""
        call.ours = state = self._rows[call.ours][kind]
        self.out.append(HEAD.pack(len(payload), kind, call.number))
        self.out.append(payload)
        if state is State.DONE:
            self._sent_all(call)

    def _advance(self, call: Call) -> None:
        """Send what may be sent of a call's queue, and put the call where it is served when the rest may."""
        queue = _queue(call)
        while queue:
            message = queue[0]
            kind, size = message.kind, len(message.payload)
            if kind == _END:
                queue.popleft()
                self.say(call, kind)
                continue
            lane = _LARGE
            if kind == _ITEM:
                lane = _ITEMS
                stream = call.stream
                if stream is None or stream.items <= 0 or stream.bytes <= 0:
                    return  # until CREDIT for this call
                if len(self.out) > LONGEST_OUT:
                    self._held[call.number] = call
                    return
            elif kind != _DATA and size <= self.frame and size <= self.credit[_SMALL]:
                self.credit[_SMALL] -= size
                self._whole(call, queue)
                continue
            if self._blocked[lane] or size > self.credit[lane]:
                self._blocked[lane][call.number] = call
                return
            if not self._begin(call, queue, lane):
                return
        if call.stream is not None and call.stream.told and not call.ending:
            call.stream.told = False
            self.writable.append(call.number)

    def _begin(self, call: Call, queue: deque[Outgoing], lane: int) -> bool:
        """Take the credit of a whole message: so each that has begun can be completed. Whether it is sent already."""
        message = queue[0]
        size = len(message.payload)
        self.credit[lane] -= size
        message.lane = lane
        if call.stream is not None and lane == _ITEMS:
            call.stream.items -= 1
            call.stream.bytes -= size
            if size <= self.frame:
                self._whole(call, queue)
                return True
        if message.kind != _DATA:
            self.say(call, message.kind | MORE)
            message.kind = _DATA
        self._turn[call.number] = call
        return False

    def _whole(self, call: Call, queue: deque[Outgoing]) -> None:
        message = queue.popleft()
        self.waiting_bytes -= len(message.payload)
        self.whole(call, message.kind, message.payload)

    def _unblock(self) -> None:
        """Begin with what the connection's credit suffices for, in order."""
        for lane, calls in self._blocked.items():
            while calls:
                call = next(iter(calls.values()))
                queue = _queue(call)
                if len(queue[0].payload) > self.credit[lane]:
                    break
                del calls[call.number]
                if self._begin(call, queue, lane):
                    self._advance(call)


def _queue(call: Call) -> deque[Outgoing]:
    """The messages of a call, made when the first one has to wait."""
    if call.queue is None:
        call.queue = deque()
    return call.queue
