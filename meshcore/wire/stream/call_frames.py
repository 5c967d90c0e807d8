"""What came for calls: checks each frame against the table of states and the limits, and says what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final, cast

from meshcore.wire import frames
from meshcore.wire.frames import ITEMS, LARGEST, MORE, Kind, ProtocolError, Reason, Refusal
from meshcore.wire.stream.call import Call, Partial
from meshcore.wire.stream.calls import Calls
from meshcore.wire.stream.events import Answered, Canceled, Ended, Erred, Item, Refused, Requested
from meshcore.wire.stream.intake import Lane
from meshcore.wire.stream.states import CALLEE, CALLER, State, expected

_ITEM, _ANSWER = int(Kind.ITEM), int(Kind.ANSWER)
_BARE: Final = 0xFF & ~(MORE | ITEMS)
_SMALL, _LARGE, _ITEMS = map(int, Lane)


class CallFrames:
    """Acts on the frames of calls that have begun.

    Args:
        calls: of the connection.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._rows = CALLEE if calls.client else CALLER

    def handle(self, kind: int, number: int, body: bytes) -> None:
        """Act on a frame of a call.

        Raises:
            ProtocolError: it breaks the protocol.
        """
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
        self._HANDLERS[kind & _BARE](self, call, kind, body)

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
            check_empty(kind, len(body))
            call.partial = Partial(kind & _BARE, bytearray())
            return
        intake.pass_on(_SMALL, len(body))
        self._end_call(call, kind, body)

    def _end_call(self, call: Call, kind: int, payload: bytes) -> None:
        self._calls.forget(call)
        if not call.deaf:
            self._calls.events.append(
                Answered(call.number, payload) if kind == _ANSWER else Erred(call.number, payload)
            )

    def _refused(self, call: Call, _: int, body: bytes) -> None:
        refusal, text = frames.read_refused(body)
        self._calls.forget(call)
        if not call.deaf:
            self._calls.events.append(Refused(call.number, refusal, text))

    def _item(self, call: Call, kind: int, body: bytes) -> None:
        stream = self._calls.stream(call)
        if stream.left <= 0 or stream.left_bytes <= 0:
            raise ProtocolError(Reason.CREDIT, f"an item for call {call.number}, which has no credit left")
        stream.left -= 1
        if kind & MORE:
            check_empty(kind, len(body))
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
            self._calls.events.append(Item(call.number, payload))

    def _end(self, call: Call, _: int, body: bytes) -> None:
        if body:
            raise ProtocolError(Reason.PROTOCOL, f"END has a body of {len(body)} bytes")
        if self._calls.client:
            self._calls.forget(call)
        if not call.deaf:
            self._calls.events.append(Ended(call.number))
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
            method, headers, seconds, items = request.method, request.headers, request.timeout, request.items
            calls.events.append(Requested(call.number, method, headers, seconds, payload, items, request.trace))
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
                self._calls.events.append(Canceled(call.number))

    def _credit(self, call: Call, _: int, body: bytes) -> None:
        stream = self._calls.stream(call)
        items, size = frames.read_call_credit(body)
        stream.items += items
        stream.bytes += size
        if max(stream.items, stream.bytes) > LARGEST:
            raise ProtocolError(Reason.CREDIT, f"CREDIT of {items} items with {size} bytes is more than can be counted")
        self._calls.outbox.go_on(call)

    # One table for all connections: one for each would take 0.8 KiB.
    _HANDLERS: ClassVar[Mapping[int, Callable[..., None]]] = {
        Kind.ITEM: _item,
        Kind.END: _end,
        Kind.ANSWER: _last_message,
        Kind.ERROR: _last_message,
        Kind.REFUSED: _refused,
        Kind.CANCEL: _cancel,
        Kind.DATA: _data,
        Kind.CREDIT: _credit,
    }


def check_empty(kind: int, size: int) -> None:
    """Check that a frame with MORE has no payload.

    Raises:
        ProtocolError: it has one.
    """
    if size:
        raise ProtocolError(Reason.PROTOCOL, f"{frames.name_of(kind)} has a payload of {size} bytes in the same frame")
