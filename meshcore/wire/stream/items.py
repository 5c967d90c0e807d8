"""Items of streams, which both sides send and read."""

from __future__ import annotations

from typing import Final

from meshcore.core.errors import Code, LocalError
from meshcore.wire import frames
from meshcore.wire.frames import (
    HEAD,
    Feature,
    Kind,
)
from meshcore.wire.stream.call import Call
from meshcore.wire.stream.intake import Lane
from meshcore.wire.stream.link import Link
from meshcore.wire.stream.outbox import LONGEST_OUT
from meshcore.wire.stream.states import State

_OPEN: Final = State.OPEN
_ITEMS: Final = int(Lane.ITEMS)
_ITEM, _ERROR, _END = int(Kind.ITEM), int(Kind.ERROR), int(Kind.END)
_pack = HEAD.pack
_UPLOADING: Final = (State.REQUEST_BEFORE_ITEMS, State.OPEN, State.ITEM)
_ANSWERING: Final = (State.IDLE, State.OPEN, State.ITEM)


class ItemLink(Link):
    """What all connections do with items. See `Connection`."""

    def send_item(self, call: int, payload: bytes) -> bool | None:
        """Send an item. False if the next one should wait until `Writable`: the peer's credit is used up.

        For a call that has ended or was canceled nothing is sent, and None is returned: its events say so, which the
        writer has to wait for. If it went on, and never waited otherwise, nobody could tell it.

        Raises:
            LocalError: the item is larger than the peer takes (RESOURCE_EXHAUSTED), or its protocol has no streams
                (UNIMPLEMENTED). Nothing was sent.
            ValueError: this call does not send items, or not any more.
        """
        entry, size, credit = self._by_number.get(call), len(payload), self._credit
        if (
            entry is not None
            and entry.ours is _OPEN
            and (stream := entry.stream) is not None
            and stream.items > 0
            and stream.bytes > 0
            and size <= self._outbox.frame
            and size <= credit[_ITEMS]
            and not (entry.queue or entry.ending or entry.deaf or self._outbox.blocked_items)
            and len(self._out) <= LONGEST_OUT
        ):
            # Saves 2.8 us of 3.7: the second and all further items change no state, and this one need not wait.
            stream.items -= 1
            stream.bytes -= size
            credit[_ITEMS] -= size
            self._out.append(_pack(size, _ITEM, call))
            self._out.append(payload)
            return True
        entry = self._streaming(call)
        if entry is None:
            return None
        calls = self._calls
        peer = calls.peer
        if peer is None or not calls.features & Feature.STREAMS:
            raise LocalError(Code.UNIMPLEMENTED, "the peer's protocol has no streams")
        if size > peer.message:
            raise too_large("the item has", size, peer.message)
        stream = entry.stream or calls.stream(entry)
        if self._outbox.send(entry, _ITEM, payload):
            return True
        stream.told = True
        return False

    def end(self, call: int) -> None:
        """Say that there are no more items. For a server, this ends the call.

        Raises:
            ValueError: this call does not send items, or not any more.
        """
        entry = self._streaming(call)
        if entry is not None:
            entry.ending = True
            self._outbox.send(entry, _END, b"")
        elif (deaf := self._by_number.get(call)) is not None and not self._calls.client:
            deaf.ending = True
            self._outbox.say(deaf, _ERROR)

    def _streaming(self, number: int) -> Call | None:
        """A call that may send items; None if it was canceled or ended by the peer."""
        call = self._by_number.get(number)
        if call is None:
            if self._closed or (self._calls.client and 0 < number <= self._calls.last):
                return None
        elif not call.ending and call.ours in (_UPLOADING if self._calls.client else _ANSWERING):
            return None if call.deaf else call
        elif call.deaf and self._calls.client:
            return None
        raise ValueError(f"call {number} does not send items, or not any more")

    def consumed(self, call: int, size: int) -> None:
        """The reader has taken an item of so many bytes. This is what lets its writer go on."""
        calls = self._calls
        entry = self._by_number.get(call)
        if entry is None:
            left = calls.unread.pop(call, 0)
            if left:
                calls.intake.give(_ITEMS, min(left, size))
            if left > size:
                calls.unread[call] = left - size
            return
        stream = entry.stream
        if stream is None or entry.deaf:
            return
        size = min(size, stream.unread)
        stream.unread -= size
        calls.intake.give(_ITEMS, size)
        if entry.theirs is State.DONE:
            return
        stream.read += 1
        stream.read_bytes += size
        # Half of the credit at a time: a frame for each item would double their cost.
        if 2 * stream.read >= calls.limits.items or 2 * stream.read_bytes >= calls.limits.item_bytes:
            self._out.append(frames.call_credit(call, stream.read, stream.read_bytes))
            stream.left += stream.read
            stream.left_bytes += stream.read_bytes
            stream.read = stream.read_bytes = 0

    def release(self, call: int) -> None:
        """Give back credit early. All that a call holds at its server is given back anyway when it has ended.

        A server may do so for a request whose arguments are decoded. A client must for every call from which items
        came, when its reader has ended: items that it has not consumed are not wanted any more.
        """
        calls = self._calls
        entry = self._by_number.get(call)
        if entry is None:
            calls.intake.give(_ITEMS, calls.unread.pop(call, 0))
        elif calls.client:
            calls.give_back(entry)
        else:
            calls.give_back_request(entry)


def too_large(what: str, size: int, most: int) -> LocalError:
    """The error of a payload that the peer does not take."""
    return LocalError(Code.RESOURCE_EXHAUSTED, f"{what} {size} bytes, the peer takes {most}")
