"""What came: takes bytes apart into frames, and begins calls."""

from __future__ import annotations

from typing import Final

from meshcore.wire import frames
from meshcore.wire.frames import (
    HEAD,
    ITEMS,
    MORE,
    REQUEST_BODY,
    TRACE,
    TRACE_SIZE,
    Feature,
    Kind,
    ProtocolError,
    Reason,
    Refusal,
)
from meshcore.wire.stream.call import Call, Partial, Request
from meshcore.wire.stream.call_frames import CallFrames, check_empty
from meshcore.wire.stream.calls import Calls
from meshcore.wire.stream.control import Control
from meshcore.wire.stream.events import Answered, Item, Requested, TurnedAway
from meshcore.wire.stream.intake import Lane
from meshcore.wire.stream.names import NO_HEADERS
from meshcore.wire.stream.outbox import LONGEST_OUT
from meshcore.wire.stream.states import CALLER, State
from meshcore.wire.trace_field import LONGEST_TRACE, PARENT_SIZE

_HEAD_SIZE: Final = HEAD.size
_REQUEST_SIZE: Final = REQUEST_BODY.size
_NEVER: Final = -1
_IDLE, _OPEN = State.IDLE, State.OPEN
_BEGINNINGS: Final = CALLER[_IDLE]
_unpack_request, _unpack_trace = REQUEST_BODY.unpack_from, TRACE_SIZE.unpack_from
_REQUEST, _ITEM, _ANSWER = int(Kind.REQUEST), int(Kind.ITEM), int(Kind.ANSWER)
_BARE: Final = 0xFF & ~(MORE | ITEMS | TRACE)
_SMALL, _LARGE, _ITEMS = map(int, Lane)
_TRACE_FEATURE = int(Feature.TRACE)


class Receiver:
    """Takes bytes apart into frames, and these into events.

    Args:
        calls: of the connection.
        control: acts on frames of the connection.
    """

    def __init__(self, calls: Calls, control: Control) -> None:
        self._calls = calls
        self._control = control
        self._names, self._methods = control.names, control.names.methods
        self._call_frames = CallFrames(calls)
        self._rest = bytearray()  # the beginning of a frame of `_need` bytes
        self._need = 0
        # One side gets no requests, the other no answers.
        self._answers, self._requests = (_ANSWER, _NEVER) if calls.client else (_NEVER, _REQUEST)
        self._ready = False  # whether the peer's hello has come
        self._crowded = False  # whether this server begins with no more calls

    def feed(self, data: bytes, now: float) -> None:
        """Take in what was read.

        Raises:
            ProtocolError: it breaks the protocol. The events before that are reported.
        """
        if self._rest:
            # A frame that comes in many pieces is copied once when it is complete, not with each piece.
            self._rest += data
            if len(self._rest) < self._need:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at = self._parse(data, now)
        if at < len(data):
            self._rest += memoryview(data)[at:]

    def _parse(self, data: bytes, now: float) -> int:  # noqa: C901 - one loop, with a short way for each usual frame
        """Act on all whole frames; where the first that is not whole begins."""
        calls, head, at, end = self._calls, HEAD.unpack_from, 0, len(data)
        by_number, most, add = calls.by_number, calls.limits.frame, calls.events.append
        answer, request = self._answers, self._requests
        outbox = calls.outbox
        self._crowded = calls.draining or outbox.waiting_bytes > calls.limits.queued or len(outbox.out) > LONGEST_OUT
        small = items = 0
        self._need = _HEAD_SIZE
        while end - at >= _HEAD_SIZE:
            size, kind, number = head(data, at)
            start = at + _HEAD_SIZE
            stop = start + size
            if size > most or not self._ready:
                self._check_begin(data[at : at + 16], size, kind)
            if stop > end:
                self._need = stop - at
                break
            at = stop
            if kind == answer and (call := by_number.get(number)) is not None and call.plain:
                # Saves 1.1 us: this answer to this call is what the table of states lets come, and it ends all.
                del by_number[number]
                small += size
                add(Answered(number, data[start:stop]))
            elif kind & _BARE == request:
                small += self._request(kind, number, data, start, stop)
            elif (
                kind == _ITEM
                and (call := by_number.get(number)) is not None
                and call.theirs is _OPEN
                and (stream := call.stream) is not None
                and stream.left > 0
                and stream.left_bytes > 0
                and not call.deaf
            ):
                # Saves 0.5 us: the second and all further items of a stream change no state.
                stream.left -= 1
                stream.left_bytes -= size
                stream.unread += size
                items += size
                add(Item(number, data[start:stop]))
            elif number:
                self._call_frames.handle(kind, number, data[start:stop])
            else:
                self._control.handle(kind, data[start:stop], now)
                self._ready = True
        if items:  # once for all that came together
            calls.intake.take(_ITEMS, items)
        if small:
            if calls.client:
                calls.intake.pass_on(_SMALL, small)
            else:
                calls.intake.take(_SMALL, small)
        return at

    def _check_begin(self, begin: bytes, size: int, kind: int) -> None:
        if not self._ready and (kind != Kind.HELLO or size > frames.LONGEST_HELLO):
            raise ProtocolError(Reason.VERSION, f"the peer does not speak this protocol: it begins with {begin!r}")
        most = self._calls.limits.frame
        if size > most:
            text = f"{frames.name_of(kind)} has a body of {size} bytes, the limit is {most}"
            raise ProtocolError(Reason.FRAME_SIZE, text)

    def _request(  # noqa: C901 - a function for a part takes 0.1 us
        self, kind: int, number: int, data: bytes, start: int, stop: int
    ) -> int:
        """Server: begin a call; the bytes of its payload."""
        calls, at = self._calls, start + _REQUEST_SIZE
        traced, named = kind & TRACE, kind
        kind ^= traced
        state = _BEGINNINGS.get(kind)
        if state is None or number <= calls.last:
            text = f"{frames.name_of(named)} for call {number}, after call {calls.last} has begun"
            raise ProtocolError(Reason.PROTOCOL, text)
        calls.last = number
        if at > stop:
            raise ProtocolError(Reason.PROTOCOL, f"REQUEST has a body of {stop - start} bytes")
        fields: tuple[int, int, int] = _unpack_request(data, start)
        method, timeout, block = fields
        headers, trace = NO_HEADERS, b""
        if traced:
            trace = self._trace(data, at, stop, block)
            at += TRACE_SIZE.size + len(trace)
        if block:
            if at + block > stop:
                text = f"REQUEST has {stop - at} bytes where headers of {block} should be"
                raise ProtocolError(Reason.PROTOCOL, text)
            headers = self._names.block(data[at : at + block])
            at += block
        size = stop - at
        if method >= len(self._methods):
            raise ProtocolError(Reason.TABLE, f"REQUEST of method {method}, there are {len(self._methods)}")
        if len(calls.by_number) >= calls.limits.calls:
            raise ProtocolError(Reason.LIMIT, f"more than {calls.limits.calls} calls in flight")
        plain = kind == _REQUEST
        calls.by_number[number] = call = Call(number, _IDLE, state, size, plain)
        name = self._methods[method]
        seconds, items = timeout / 1000 if timeout else None, kind & ITEMS != 0
        if not plain and kind & MORE:
            check_empty(kind, size)
            call.partial = Partial(_REQUEST, bytearray(), Request(name, seconds, headers, items, trace))
        if self._crowded:
            self._turn_away(call, Requested(number, name, headers, seconds, b"", items, trace))
        elif plain or call.partial is None:
            calls.events.append(Requested(number, name, headers, seconds, data[at:stop], items, trace))
        return size

    def _trace(self, data: bytes, at: int, stop: int, block: int) -> bytes:
        """Server: the field of the trace of a request, after which the other headers come."""
        calls = self._calls
        if not calls.features & _TRACE_FEATURE:
            raise ProtocolError(Reason.PROTOCOL, "REQUEST with TRACE, which was not agreed on")
        start = at + TRACE_SIZE.size
        size: int = _unpack_trace(data, at)[0] if start <= stop else 0
        if not PARENT_SIZE <= size <= LONGEST_TRACE or start + size > stop:
            raise ProtocolError(Reason.PROTOCOL, f"REQUEST has {stop - at} bytes where a trace of {size} should be")
        if size + block > calls.limits.header_bytes:
            text = f"headers of {size + block} bytes with their trace, the limit is {calls.limits.header_bytes}"
            raise ProtocolError(Reason.LIMIT, text)
        return data[start : start + size]

    def _turn_away(self, call: Call, request: Requested) -> None:
        calls = self._calls
        if calls.draining:  # GO_AWAY has said it for all that come now
            calls.events.append(TurnedAway(request, Refusal.DRAINING, "this side has said GO_AWAY"))
            call.ours = State.DONE
            calls.deafen(call)
            if call.theirs is State.DONE:
                del calls.by_number[call.number]
        else:
            calls.replied()
            text = "too many answers wait for their reader"
            calls.events.append(TurnedAway(request, Refusal.OVERLOADED, text))
            calls.refuse(call, Refusal.OVERLOADED, text)
