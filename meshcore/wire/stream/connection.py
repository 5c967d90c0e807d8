"""One side of a connection that carries many calls: bytes in, events out."""

from __future__ import annotations

from collections.abc import Mapping

from meshcore.wire.stream.events import Event, Lost, Reason, Refusal
from meshcore.wire.stream.limits import Limits

_NO_HEADERS: Mapping[str, str] = {}


class Connection:
    """One side of a connection. It does no I/O: a shell feeds it what came, and writes what it has to send.

    A loop turn of a shell: `feed` what was read, act on the events, and when all tasks of this turn have run write
    `data_to_send` once. `tick` when `next_tick` has come. When the transport has closed: `lost`.

    Args:
        client: whether this side makes the calls.
        now: the monotonic time, in seconds, as everywhere here.
        limits: what this side accepts.
        ping_interval: seconds between pings.
        ping_timeout: seconds after a ping in which something must come, else the peer is dead.
    """

    def __init__(
        self,
        *,
        client: bool,
        now: float,
        limits: Limits = Limits(),
        ping_interval: float = 10.0,
        ping_timeout: float = 5.0,
    ) -> None:
        raise NotImplementedError

    # State

    @property
    def ready(self) -> bool:
        """Whether the peer's hello has come."""
        raise NotImplementedError

    @property
    def room(self) -> int:
        """Client: how many calls may be begun now. 0 before `Ready`, after `GoneAway`, and when all numbers are used."""
        raise NotImplementedError

    @property
    def exhausted(self) -> bool:
        """Client: whether no call can be begun on this connection any more, whatever ends: another one is needed."""
        raise NotImplementedError

    @property
    def calls(self) -> int:
        """Calls that have not ended."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Whether the connection is over: `Failed` was reported, or `lost` was called. All methods do nothing then."""
        raise NotImplementedError

    # Bytes

    def feed(self, data: bytes, now: float) -> list[Event]:
        """Take in what was read: any part of the peer's bytes, in order.

        Never raises for what a peer sends: that ends in `Failed`.
        """
        raise NotImplementedError

    @property
    def pending(self) -> bool:
        """Whether `data_to_send` has something. Chunks that wait for credit do not count."""
        raise NotImplementedError

    def data_to_send(self, most: int = 256 * 1024) -> bytes:
        """What is to be written now, in one write: all small frames, and chunks of large messages in turn.

        Args:
            most: bytes from which on no further chunk is added. Look at `pending` afterwards; ask again when the
                transport has taken this.
        """
        raise NotImplementedError

    @property
    def next_tick(self) -> float:
        """When `tick` is to be called at the latest."""
        raise NotImplementedError

    def tick(self, now: float) -> list[Event]:
        """Send a ping if it is time; `Failed` if the peer is dead. May be called at any time."""
        raise NotImplementedError

    def lost(self, text: str) -> list[Lost]:
        """The transport is closed: the calls that were in flight. Of a server: the calls whose work is to be stopped.

        Nothing is sent afterwards, and what calls it again gets nothing.
        """
        raise NotImplementedError

    # Client

    def request(
        self,
        method: str,
        payload: bytes,
        headers: Mapping[str, str] = _NO_HEADERS,
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
            LocalError: the peer's limits do not let it pass (RESOURCE_EXHAUSTED), or a header cannot be encoded
                (INVALID_ARGUMENT). Nothing was sent.
            ValueError: there is no `room`.
        """
        raise NotImplementedError

    def cancel(self, call: int) -> None:
        """Give a call up. No event about it comes any more; it counts in `calls` until the server has ended it."""
        raise NotImplementedError

    # Server

    def answer(self, call: int, payload: bytes) -> None:
        """End a call with a result. What it has sent before, goes first.

        Raises:
            LocalError: the result is larger than the client takes (RESOURCE_EXHAUSTED). The call has not ended.
            ValueError: there is no such call, or it has ended.
        """
        raise NotImplementedError

    def error(self, call: int, payload: bytes) -> None:
        """End a call with an encoded `ErrorBody`, also in the middle of a stream: after the items before it.

        Raises:
            LocalError, ValueError: as `answer`.
        """
        raise NotImplementedError

    def refuse(self, call: int, refusal: Refusal, text: str) -> None:
        """End a call as not processed.

        Raises:
            ValueError: there is no such call, it has ended, or items were sent.
        """
        raise NotImplementedError

    def go_away(self, text: str, reason: Reason = Reason.DRAIN) -> None:
        """Accept no more calls. Those that were accepted go on; close the transport when `calls` is 0 and `pending` False."""
        raise NotImplementedError

    # Streams, both sides

    def send_item(self, call: int, payload: bytes) -> bool:
        """Send an item. False if the next one should wait until `Writable`: the peer's credit is used up.

        For a call that has ended or was canceled, nothing is sent and True is returned: its events say so.

        Raises:
            LocalError: the item is larger than the peer takes (RESOURCE_EXHAUSTED). Nothing was sent.
            ValueError: this call does not send items, or not any more.
        """
        raise NotImplementedError

    def end(self, call: int) -> None:
        """Say that there are no more items. For a server, this ends the call."""
        raise NotImplementedError

    def consumed(self, call: int, size: int) -> None:
        """The reader has taken an item of so many bytes. This is what lets its writer go on."""
        raise NotImplementedError

    def release(self, call: int) -> None:
        """Give back the credit of all that came for a call: a reader that stops early does not want its items.

        A server may do so for a request whose arguments are decoded; else it happens when the call has ended. A client
        must for every call from which items came, when its reader has ended.
        """
        raise NotImplementedError
