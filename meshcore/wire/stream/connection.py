"""One side of a connection that carries many calls: bytes in, events out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshcore.core.errors import Code, LocalError
from meshcore.wire import frames
from meshcore.wire.frames import (
    HEAD,
    ITEMS,
    MORE,
    REQUEST_BODY,
    REQUEST_HEAD,
    TRACE,
    TRACE_SIZE,
    Feature,
    Kind,
    Reason,
    Refusal,
)
from meshcore.wire.stream.call import Call
from meshcore.wire.stream.intake import Lane
from meshcore.wire.stream.items import ItemLink, too_large
from meshcore.wire.stream.link import LAST_NUMBER
from meshcore.wire.stream.names import NO_HEADERS
from meshcore.wire.stream.states import CALLER, State
from meshcore.wire.trace_field import split_trace

_SHORTEST_TIMEOUT: Final = 0.001
_LONGEST_TIMEOUT: Final = (2**32 - 1) / 1000
_IDLE: Final = State.IDLE
_SMALL: Final = int(Lane.SMALL)
_REQUEST, _ANSWER, _ERROR, _DATA = int(Kind.REQUEST), int(Kind.ANSWER), int(Kind.ERROR), int(Kind.DATA)
_TRACED, _TRACE_FEATURE = _REQUEST | TRACE, int(Feature.TRACE)  # not a flag: its `&` takes 1 us
_REQUEST_SIZE: Final = REQUEST_BODY.size
_pack, _pack_request, _pack_trace = HEAD.pack, REQUEST_HEAD.pack, TRACE_SIZE.pack
_ASKED: Final = CALLER[_IDLE][_REQUEST]


class Connection(ItemLink):
    """One side of a connection. It does no I/O: a shell feeds it what came, and writes what it has to send.

    A loop turn of a shell: `feed` what was read, act on the events, and when all tasks of this turn have run write
    `data_to_send` once and act on `progress`. `tick` when `next_tick` has come. When the transport has closed: `lost`.

    Args:
        client: whether this side makes the calls.
        now: the monotonic time, in seconds, as everywhere here.
        limits: what this side accepts.
        ping_interval: seconds between pings.
        ping_timeout: seconds after a ping in which something must come, else the peer is dead.
        versions: lowest and highest version that this side speaks.
        features: that this side has, see `frames.Feature`.

    Raises:
        ValueError: the limits cannot work; the text says why.
    """

    # Client

    def request(
        self,
        method: str,
        payload: bytes,
        headers: Mapping[str, str] = NO_HEADERS,
        timeout: float | None = None,
        *,
        items: bool = False,
    ) -> int:
        """Begin a call; its number.

        Args:
            method: its name on the wire.
            payload: the encoded arguments.
            headers: names in lower case.
            timeout: seconds that the caller still waits, None without end.
            items: whether items follow. Then `end` has to come after them.

        Raises:
            LocalError: the peer's limits do not let it pass (RESOURCE_EXHAUSTED), or a name or header cannot be
                encoded (INVALID_ARGUMENT). Nothing was sent.
            ValueError: there is no `room`.
        """
        calls, names, credit = self._calls, self._calls.names, self._credit
        number = calls.last + 1
        if names is None or len(self._by_number) >= calls.peer_calls or number > LAST_NUMBER:
            raise ValueError("there is no room for a call; see `room`")
        entry = names.methods.get(method)
        if entry is None:
            entry = names.method(method)
        trace = block = b""
        if headers:
            if calls.features & _TRACE_FEATURE:
                trace, headers = split_trace(headers)
            if trace:
                trace = _pack_trace(len(trace)) + trace
            block = names.block(headers, len(trace))
        milliseconds = 0
        if timeout is not None:
            milliseconds = (
                int(timeout * 1000) if _SHORTEST_TIMEOUT <= timeout < _LONGEST_TIMEOUT else _other_timeout(timeout)
            )
        size = len(payload)
        body = _REQUEST_SIZE + len(trace) + len(block) + size
        left = credit[_SMALL] - size
        if items or body > self._outbox.frame or left < 0:
            return self._request_in_parts(method, payload, trace, block, entry, milliseconds, items=items)
        calls.last = number
        credit[_SMALL] = left
        # Saves 0.1 us: what the table of states says of IDLE and of this frame is known beforehand.
        self._by_number[number] = Call(number, _ASKED, _IDLE, plain=True)
        out = self._out
        if trace:
            out.append(_pack_request(body, _TRACED, number, entry, milliseconds, len(block)))
            out.append(trace)
        else:
            out.append(_pack_request(body, _REQUEST, number, entry, milliseconds, len(block)))
        if block:
            out.append(block)
        out.append(payload)
        return number

    def _request_in_parts(
        self, method: str, payload: bytes, trace: bytes, block: bytes, entry: int, milliseconds: int, *, items: bool
    ) -> int:
        """Begin a call after whose first frame something is to come."""
        calls, outbox, size = self._calls, self._outbox, len(payload)
        if items and not calls.features & Feature.STREAMS:
            raise LocalError(Code.UNIMPLEMENTED, f"{method} takes a stream, which the server's protocol does not have")
        if size > calls.peer_message:
            text = f"{method}: the request is {size} bytes, more than the server takes, {calls.peer_message}"
            raise LocalError(Code.RESOURCE_EXHAUSTED, f"{text} (setting max_body there)")
        body = REQUEST_BODY.size + len(trace) + len(block)
        whole = body + size <= outbox.frame and size <= outbox.credit[_SMALL]
        kind = _REQUEST | (0 if whole else MORE) | (ITEMS if items else 0)
        calls.last = number = calls.last + 1
        self._by_number[number] = call = Call(number, CALLER[_IDLE][kind], _IDLE)
        named, length = kind | (TRACE if trace else 0), body + size if whole else body
        self._out.append(_pack_request(length, named, number, entry, milliseconds, len(block)))
        self._out.append(trace + block)
        if whole:
            outbox.credit[_SMALL] -= size
            self._out.append(payload)
        else:
            outbox.send(call, _DATA, payload)
        return number

    def cancel(self, call: int) -> None:
        """Give a call up. No event about it comes any more; it counts in `calls` until the server has ended it."""
        entry = self._by_number.get(call)
        if entry is None:
            self.release(call)
        elif not entry.deaf:
            self._calls.deafen(entry)
            self._outbox.say(entry, Kind.CANCEL)

    # Server

    def answer(self, call: int, payload: bytes) -> None:
        """End a call with a result.

        Raises:
            LocalError: the result is larger than the client takes (RESOURCE_EXHAUSTED). The call has not ended.
            ValueError: there is no such call, it has ended, or items were sent.
        """
        entry, size, credit = self._by_number.get(call), len(payload), self._credit
        if entry is not None and entry.plain and size <= self._outbox.frame and size <= credit[_SMALL]:
            # Saves 2 us of 2.7: this answer needs no other checks, and it leaves nothing.
            del self._by_number[call]
            credit[_SMALL] -= size
            self._answered += entry.held
            self._out.append(_pack(size, _ANSWER, call))
            self._out.append(payload)
        else:
            self._end_with(call, _ANSWER, payload)

    def error(self, call: int, payload: bytes) -> None:
        """End a call with an encoded `ErrorBody`, also in the middle of a stream: after the items before it.

        Raises:
            LocalError: the body is larger than the client takes (RESOURCE_EXHAUSTED). The call has not ended.
            ValueError: there is no such call, or it has ended.
        """
        self._end_with(call, _ERROR, payload)

    def _end_with(self, number: int, kind: int, payload: bytes) -> None:
        call = self._unfinished(number)
        if call is None:
            return
        call.plain = False
        size, outbox, most = len(payload), self._outbox, self._calls.peer_message
        if call.deaf:
            call.ending = True
            outbox.say(call, _ERROR)  # nobody looks at it
            return
        if size > most:
            raise too_large("the answer has", size, most)
        if kind == _ANSWER and call.ours is not State.IDLE:
            raise ValueError(f"call {number} has sent items, so it cannot end with an answer")
        call.ending = True
        if size <= outbox.frame and size <= outbox.credit[_SMALL] and not call.queue:
            outbox.credit[_SMALL] -= size
            outbox.whole(call, kind, payload)
        else:
            outbox.send(call, kind, payload)

    def is_sending(self, call: int) -> bool:
        """Whether a call was ended, and the peer takes its time to read that: not all of it was handed out yet."""
        entry = self._by_number.get(call)
        return entry is not None and entry.ending and not entry.deaf and entry.ours is not State.DONE

    def refuse(self, call: int, refusal: Refusal, text: str) -> None:
        """End a call as not processed.

        Raises:
            ValueError: there is no such call, it has ended, or items were sent.
        """
        entry = self._unfinished(call)
        if entry is None:
            return
        if entry.ours is not State.IDLE or entry.queue:
            raise ValueError(f"call {call} has sent items, so it cannot be refused")
        entry.ending = True
        self._calls.refuse(entry, refusal, text)

    def go_away(self, text: str) -> None:
        """Accept no more calls; those that were accepted go on. Close the transport when they are over and sent.

        That is when `calls` is 0 and `pending` is False.
        """
        calls = self._calls
        if not calls.draining and not self._closed:
            calls.draining, calls.peer_calls = True, 0
            self._outbox.write(frames.go_away(Reason.DRAIN, 0 if calls.client else calls.last, text))

    def ask_for_another(self, text: str) -> None:
        """Server: let the client begin its next calls on another connection. All that it begins here are accepted."""
        if not self._calls.draining and not self._closed:
            self._outbox.write(frames.go_away(Reason.DRAIN, LAST_NUMBER, text))

    def _unfinished(self, number: int) -> Call | None:
        """A call at its server that has to be ended; None if the connection is over."""
        call = self._by_number.get(number)
        if call is not None and not call.ending and call.ours is not State.DONE:
            return call
        if self._closed:
            return None
        raise ValueError(f"call {number} has ended, or has never begun")


def _other_timeout(seconds: float) -> int:
    """The milliseconds of a time that is too short or too long for them."""
    return 1 if seconds < 1 else LAST_NUMBER
