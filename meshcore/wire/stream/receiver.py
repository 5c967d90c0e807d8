"""What came, frame by frame: checks each against the table of states and the limits, and says what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from meshcore.wire import frames
from meshcore.wire.frames import HEAD, ITEMS, LARGEST, MORE, REQUEST_BODY, Kind, ProtocolError, Reason, Refusal
from meshcore.wire.stream.call import Call, Partial, Request
from meshcore.wire.stream.calls import Calls
from meshcore.wire.stream.control import Control
from meshcore.wire.stream.events import Answered, Canceled, Ended, Erred, Event, Item, Refused, Requested
from meshcore.wire.stream.intake import Lane
from meshcore.wire.stream.names import NO_HEADERS
from meshcore.wire.stream.outbox import LONGEST_OUT
from meshcore.wire.stream.states import CALLEE, CALLER, State, expected

_HEAD_SIZE: Final = HEAD.size
_REQUEST_SIZE: Final = REQUEST_BODY.size
_NEVER: Final = -1
_IDLE: Final = State.IDLE
_BEGINNINGS: Final = CALLER[_IDLE]
_unpack_request = REQUEST_BODY.unpack_from
_REQUEST, _ITEM, _ANSWER = int(Kind.REQUEST), int(Kind.ITEM), int(Kind.ANSWER)
_BARE: Final = 0xFF & ~(MORE | ITEMS)
_SMALL, _LARGE, _ITEMS = map(int, Lane)


class Receiver:
    """Takes bytes apart into frames, and these into events.

    Args:
        calls: of the connection.
        control: acts on frames of the connection.

    Attributes:
        events: what is to be reported, in order.
    """

    def __init__(self, calls: Calls, control: Control) -> None:
        self._calls = calls
        self._control = control
        self._names, self._methods = control.names, control.names.methods
        self._rows = CALLEE if calls.client else CALLER
        self._rest = bytearray()  # the beginning of a frame of `_need` bytes
        self._need = 0
        self._ready = False  # whether the peer's hello has come
        self._crowded = False  # whether this server begins with no more calls
        self.events: list[Event] = []
        self._handlers: Mapping[int, Callable[[Call, int, bytes], None]] = {
            Kind.ITEM: self._item,
            Kind.END: self._end,
            Kind.ANSWER: self._last_message,
            Kind.ERROR: self._last_message,
            Kind.REFUSED: self._refused,
            Kind.CANCEL: self._cancel,
            Kind.DATA: self._data,
            Kind.CREDIT: self._credit,
        }

    def feed(self, data: bytes, now: float) -> None:
        """Take in what was read.

        Raises:
            ProtocolError: it breaks the protocol. The events before that are in `events`.
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

    def _parse(self, data: bytes, now: float) -> int:
        """Act on all whole frames; where the first that is not whole begins."""
        calls, head, at, end = self._calls, HEAD.unpack_from, 0, len(data)
        by_number, most, add = calls.by_number, calls.limits.frame, self.events.append
        # One side gets no requests, the other no answers.
        answer, request = (_ANSWER, _NEVER) if calls.client else (_NEVER, _REQUEST)
        self._crowded = (
            calls.draining or calls.outbox.waiting_bytes > calls.limits.queued or len(calls.outbox.out) > LONGEST_OUT
        )
        small = 0
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
                # Saves 0.6 us: this answer to this call is what the table of states lets come, and it ends all.
                del by_number[number]
                small += size
                add(Answered(number, data[start:stop]))
            elif kind & _BARE == request:
                small += self._request(kind, number, data, start, stop)
            elif number:
                self._call_frame(kind, number, data[start:stop])
            else:
                self._control.handle(kind, data[start:stop], now, self.events)
                self._ready = True
        if small:  # once for all that came together
            calls.intake.take(_SMALL, small)
            if calls.client:
                calls.intake.give(_SMALL, small)
        return at

    def _check_begin(self, begin: bytes, size: int, kind: int) -> None:
        if not self._ready and (kind != Kind.HELLO or size > frames.LONGEST_HELLO):
            raise ProtocolError(Reason.VERSION, f"the peer does not speak this protocol: it begins with {begin!r}")
        most = self._calls.limits.frame
        if size > most:
            text = f"{frames.name_of(kind)} has a body of {size} bytes, the limit is {most}"
            raise ProtocolError(Reason.FRAME_SIZE, text)

    def _request(self, kind: int, number: int, data: bytes, start: int, stop: int) -> int:
        """Server: begin a call; the bytes of its payload."""
        calls, at = self._calls, start + _REQUEST_SIZE
        state = _BEGINNINGS.get(kind)
        if state is None or number <= calls.last:
            text = f"{frames.name_of(kind)} for call {number}, after call {calls.last} has begun"
            raise ProtocolError(Reason.PROTOCOL, text)
        calls.last = number
        if at > stop:
            raise ProtocolError(Reason.PROTOCOL, f"REQUEST has a body of {stop - start} bytes")
        fields: tuple[int, int, int] = _unpack_request(data, start)
        method, timeout, block = fields
        headers = NO_HEADERS
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
            _check_empty(kind, size)
            call.partial = Partial(_REQUEST, bytearray(), Request(name, seconds, headers, items))
        if self._crowded:
            self._turn_away(call)
        elif plain or call.partial is None:
            self.events.append(Requested(number, name, headers, seconds, data[at:stop], items))
        return size

    def _turn_away(self, call: Call) -> None:
        calls = self._calls
        if calls.draining:  # GO_AWAY has said it for all that come now
            call.ours = State.DONE
            calls.deafen(call)
            if call.theirs is State.DONE:
                del calls.by_number[call.number]
        else:
            calls.replied()
            calls.refuse(call, Refusal.OVERLOADED, "too many answers wait for their reader")

    def _call_frame(self, kind: int, number: int, body: bytes) -> None:
        call = self._calls.by_number.get(number)
        if call is None:
            self._frame_of_no_call(kind, number)
            return
        state = self._rows[call.theirs].get(kind)
        if state is None:
            may = expected(self._rows[call.theirs])
            text = f"{frames.name_of(kind)} for call {number} in state {call.theirs.name}, where {may} may come"
            raise ProtocolError(Reason.PROTOCOL, text)
        call.theirs, call.plain = state, False
        self._handlers[kind & _BARE](call, kind, body)

    def _frame_of_no_call(self, kind: int, number: int) -> None:
        if number > self._calls.last:
            text = f"{frames.name_of(kind)} for call {number}, which has not begun"
            raise ProtocolError(Reason.PROTOCOL, text)
        # They may have been on their way when the server ended the call.
        if self._calls.client or kind not in {Kind.CANCEL, Kind.CREDIT}:
            raise ProtocolError(Reason.PROTOCOL, f"{frames.name_of(kind)} for call {number}, which has ended")

    def _last_message(self, call: Call, kind: int, body: bytes) -> None:
        """Client: an answer or an error."""
        intake = self._calls.intake
        self._calls.drop_partial(call)
        if kind & MORE:
            _check_empty(kind, len(body))
            call.partial = Partial(kind & _BARE, bytearray())
            return
        intake.take(_SMALL, len(body))
        intake.give(_SMALL, len(body))
        self._end_call(call, kind, body)

    def _end_call(self, call: Call, kind: int, payload: bytes) -> None:
        self._calls.forget(call)
        if not call.deaf:
            self.events.append(Answered(call.number, payload) if kind == _ANSWER else Erred(call.number, payload))

    def _refused(self, call: Call, _: int, body: bytes) -> None:
        refusal, text = frames.read_refused(body)
        self._calls.forget(call)
        if not call.deaf:
            self.events.append(Refused(call.number, refusal, text))

    def _item(self, call: Call, kind: int, body: bytes) -> None:
        stream = self._calls.stream(call)
        if stream.left <= 0 or stream.left_bytes <= 0:
            raise ProtocolError(Reason.CREDIT, f"an item for call {call.number}, which has no credit left")
        stream.left -= 1
        if kind & MORE:
            _check_empty(kind, len(body))
            call.partial = Partial(_ITEM, bytearray())
            return
        self._calls.intake.take(_ITEMS, len(body))
        self._whole_item(call, body)

    def _whole_item(self, call: Call, payload: bytes) -> None:
        stream = self._calls.stream(call)
        stream.left_bytes -= len(payload)
        if call.deaf:
            self._calls.intake.give(_ITEMS, len(payload))
        else:
            stream.unread += len(payload)
            self.events.append(Item(call.number, payload))

    def _end(self, call: Call, _: int, body: bytes) -> None:
        if body:
            raise ProtocolError(Reason.PROTOCOL, f"END has a body of {len(body)} bytes")
        if self._calls.client:
            self._calls.forget(call)
        if not call.deaf:
            self.events.append(Ended(call.number))
        if not self._calls.client:
            self._calls.received_all(call)

    def _data(self, call: Call, kind: int, body: bytes) -> None:
        calls, partial, size = self._calls, cast("Partial", call.partial), len(body)
        lane = _ITEMS if partial.kind == _ITEM else _LARGE
        calls.intake.take(lane, size)
        if not size:
            raise ProtocolError(Reason.PROTOCOL, f"an empty chunk for call {call.number}")
        if call.deaf:
            calls.intake.give(lane, size)
        else:
            partial.chunks += body
        if len(partial.chunks) > calls.limits.message:
            text = f"a message of more than {calls.limits.message} bytes for call {call.number}"
            raise ProtocolError(Reason.LIMIT, text)
        if not kind & MORE:
            call.partial = None
            self._whole_message(call, partial)

    def _whole_message(self, call: Call, partial: Partial) -> None:
        payload, request, calls = bytes(partial.chunks), partial.request, self._calls
        if partial.kind == _ITEM:
            self._whole_item(call, payload)
        elif request is None:
            if payload:
                calls.intake.give(_LARGE, len(payload))
            self._end_call(call, partial.kind, payload)
        elif not call.deaf:
            call.held_large = len(payload)
            self.events.append(
                Requested(call.number, request.method, request.headers, request.timeout, payload, request.items)
            )
        if not calls.client and call.theirs is State.DONE:
            calls.received_all(call)

    def _cancel(self, call: Call, _: int, body: bytes) -> None:
        calls = self._calls
        if body:
            raise ProtocolError(Reason.PROTOCOL, f"CANCEL has a body of {len(body)} bytes")
        begun = call.partial is None or call.partial.request is None
        if call.ours is State.DONE:
            calls.received_all(call)
        elif not begun:
            calls.replied()
            calls.refuse(call, Refusal.CANCELED, "canceled before its request was complete")
        else:
            calls.deafen(call)
            if call.ending:
                calls.outbox.say(call, Kind.ERROR)
            else:
                self.events.append(Canceled(call.number))

    def _credit(self, call: Call, _: int, body: bytes) -> None:
        stream = self._calls.stream(call)
        items, size = frames.read_call_credit(body)
        stream.items += items
        stream.bytes += size
        if max(stream.items, stream.bytes) > LARGEST:
            raise ProtocolError(Reason.CREDIT, f"CREDIT of {items} items with {size} bytes is more than can be counted")
        self._calls.outbox.go_on(call)


def _check_empty(kind: int, size: int) -> None:
    if size:
        raise ProtocolError(Reason.PROTOCOL, f"{frames.name_of(kind)} has a payload of {size} bytes in the same frame")
