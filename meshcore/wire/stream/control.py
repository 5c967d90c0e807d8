"""The frames that concern a connection as a whole: hello, definitions, credit, pings, go-away."""

from __future__ import annotations

from meshcore.wire import frames
from meshcore.wire.frames import Kind, ProtocolError, Reason, Refusal
from meshcore.wire.stream.calls import Calls
from meshcore.wire.stream.events import GoneAway, Ponged, Ready, Refused
from meshcore.wire.stream.heartbeat import Heartbeat, check_ping
from meshcore.wire.stream.limits import limits_of
from meshcore.wire.stream.names import NameReader, NameWriter


class Control:
    """Acts on the frames of a connection.

    Args:
        calls: of the connection.
        heartbeat: of the connection.
        versions: lowest and highest that this side speaks.
        features: that this side has.

    Attributes:
        names: that the peer has defined.
    """

    def __init__(self, calls: Calls, heartbeat: Heartbeat, versions: tuple[int, int], features: int) -> None:
        self._calls = calls
        self._heartbeat = heartbeat
        self._versions = versions
        self._features = int(features)  # `&` of a flag would take 1 us
        self.names = NameReader(calls.limits)

    def handle(self, kind: int, body: bytes, now: float) -> None:
        """Act on a frame of call 0.

        Raises:
            ProtocolError: it breaks the protocol.
        """
        calls = self._calls
        if kind == Kind.CREDIT:
            calls.outbox.grant(frames.read_credit(body))
        elif kind == Kind.DEFINE and not calls.client:
            self.names.define(body)
        elif kind == Kind.PING:
            check_ping(body)
            calls.replied()
            calls.outbox.write(frames.frame(Kind.PONG, 0, body))
        elif kind == Kind.PONG:
            if not calls.outbox.window.pong(body):
                calls.events.append(Ponged(self._heartbeat.pong(body, now)))
        elif kind == Kind.GO_AWAY:
            self._go_away(body)
        elif kind == Kind.HELLO and calls.peer is None:
            self._hello(body)
        else:
            sender = "a server" if calls.client else "a client"
            raise ProtocolError(Reason.PROTOCOL, f"{frames.name_of(kind)} from {sender} for call 0 is not allowed here")

    def _hello(self, body: bytes) -> None:
        (lowest, highest), features, settings = frames.read_hello(body)
        version = min(highest, self._versions[1])
        if version < max(lowest, self._versions[0]):
            own, theirs = "{} to {}".format(*self._versions), f"{lowest} to {highest}"
            raise ProtocolError(Reason.VERSION, f"the peer speaks versions {theirs}, this side {own}")
        limits = limits_of(settings)
        if problem := limits.problem():
            raise ProtocolError(Reason.LIMIT, f"the peer's limits cannot work: {problem}")
        calls = self._calls
        calls.peer, calls.features = limits, features & self._features
        calls.peer_calls, calls.peer_message = limits.calls, limits.message
        calls.outbox.open(limits)
        if calls.client:
            calls.names = NameWriter(limits, calls.outbox.write)
        calls.events.append(Ready(version, calls.features, limits))

    def _go_away(self, body: bytes) -> None:
        reason, last, text = frames.read_go_away(body)
        if reason is not Reason.DRAIN:
            raise PeerError(reason, f"the peer says: {text}", last)
        calls = self._calls
        calls.draining, calls.peer_calls = True, 0
        if calls.client:
            for call in [each for number, each in calls.by_number.items() if number > last]:
                calls.forget(call)
                if not call.deaf:
                    calls.events.append(Refused(call.number, Refusal.DRAINING, text))
        calls.events.append(GoneAway(text, last))


class PeerError(ProtocolError):
    """The peer has closed the connection because of an error of ours, so nothing is sent any more.

    Attributes:
        last: the last call that the peer knows.
    """

    def __init__(self, reason: Reason, text: str, last: int) -> None:
        super().__init__(reason, text)
        self.last = last
