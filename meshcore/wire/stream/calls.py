"""The calls of a connection: how they end, and what is given back then."""

from __future__ import annotations

from meshcore.wire.frames import Feature, Kind, ProtocolError, Reason, Refusal, refused
from meshcore.wire.stream.call import Call, Stream
from meshcore.wire.stream.events import Event
from meshcore.wire.stream.intake import Intake, Lane
from meshcore.wire.stream.limits import Limits
from meshcore.wire.stream.names import NameWriter
from meshcore.wire.stream.outbox import Outbox
from meshcore.wire.stream.states import CALLEE, CALLER, State

_MOST_REPLIES = 1_000
_OVER = (State.DONE, State.CANCELED)


class Calls:
    """The calls that one side has in flight, and what is common to them.

    Args:
        client: whether this side makes the calls.
        limits: of this side.

    Attributes:
        by_number: the calls that are not over.
        last: the highest number so far.
        draining: whether no call may begin any more.
        peer: the peer's limits, None before its hello.
        peer_calls: that may be in flight; 0 before the hello and when no call may begin any more.
        peer_message: bytes of the largest payload that the peer takes.
        features: that both have.
        names: of methods and headers, at a client, once there are limits of the peer.
        replies: frames that only reply to frames of the peer, since the last write.
        events: what is to be reported, in order.
        unread: of a client: bytes of items that wait for their reader after their call has ended.
    """

    def __init__(self, *, client: bool, limits: Limits) -> None:
        self.client = client
        self.limits = limits
        self.by_number: dict[int, Call] = {}
        self.last = 0
        self.draining = False
        self.peer: Limits | None = None
        self.peer_calls = self.peer_message = 0
        self.features = 0
        self.names: NameWriter | None = None
        self.replies = 0
        self.events: list[Event] = []
        self.unread: dict[int, int] = {}
        self.outbox = Outbox(CALLER if client else CALLEE, limits.queued, self._sent_all)
        self.intake = Intake(limits, self.outbox.write)

    def stream(self, call: Call) -> Stream:
        """The credit for a call's items, made when the first one comes or goes.

        Raises:
            ProtocolError: streams were not agreed on.
        """
        call.plain = False
        if call.stream is None:
            if not self.features & Feature.STREAMS or self.peer is None:
                raise ProtocolError(Reason.PROTOCOL, f"call {call.number} has items, which was not agreed on")
            peer, own = self.peer, self.limits
            call.stream = Stream(peer.items, peer.item_bytes, own.items, own.item_bytes)
        return call.stream

    def give_back(self, call: Call) -> None:
        """Let go of all that came for a call."""
        self.give_back_request(call)
        stream = call.stream
        if stream is not None and stream.unread:
            self.intake.give(Lane.ITEMS, stream.unread)
            stream.unread = 0

    def give_back_request(self, call: Call) -> None:
        """Let go of the request of a call, at its server."""
        if call.held:
            self.intake.give(Lane.SMALL, call.held)
            call.held = 0
        if call.held_large:
            self.intake.give(Lane.LARGE, call.held_large)
            call.held_large = 0

    def drop_partial(self, call: Call) -> None:
        """Let go of the chunks of a message that nobody waits for."""
        partial = call.partial
        if partial is not None and partial.chunks:
            self.intake.give(Lane.ITEMS if partial.kind == Kind.ITEM else Lane.LARGE, len(partial.chunks))
            partial.chunks.clear()

    def deafen(self, call: Call) -> None:
        """Drop what came for a call, what will come, and what waits to be sent."""
        call.deaf, call.plain = True, False
        self.outbox.drop(call)
        self.drop_partial(call)
        self.give_back(call)

    def forget(self, call: Call) -> None:
        """Client: the server has ended a call, or will not begin it. The server is told if more was to be sent."""
        del self.by_number[call.number]
        self.outbox.drop(call)
        if call.ours not in _OVER:
            self.outbox.say(call, Kind.CANCEL)
        if call.stream is not None and call.stream.unread:
            self.unread[call.number] = call.stream.unread

    def received_all(self, call: Call) -> None:
        """Server: the caller will send no more. A call that was ended before is over now."""
        if call.ours is State.DONE:
            del self.by_number[call.number]

    def refuse(self, call: Call, refusal: Refusal, text: str) -> None:
        """Server: end a call as not processed."""
        call.ours = CALLEE[call.ours][Kind.REFUSED]
        self.outbox.write(refused(call.number, refusal, text))
        self._sent_all(call)

    def replied(self) -> None:
        """Count a frame that the peer has caused.

        Raises:
            ProtocolError: it causes more than it reads. A client that keeps to the limits has each call refused once,
                and a few pings, before it can have read the first reply.
        """
        self.replies += 1
        if self.replies > self.limits.calls + _MOST_REPLIES:
            raise ProtocolError(Reason.FLOOD, f"{self.replies} frames were to be replied to before one reply was read")

    def _sent_all(self, call: Call) -> None:
        if self.client:
            return
        if call.theirs in _OVER:
            del self.by_number[call.number]
        self.deafen(call)
