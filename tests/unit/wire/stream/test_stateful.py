"""Two connections back to back under any course of events: nothing is lost, doubled, stuck or kept."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshcore.wire.frames import Refusal
from meshcore.wire.stream.events import (
    Answered,
    Canceled,
    Ended,
    Erred,
    GoneAway,
    Item,
    Ponged,
    Ready,
    Refused,
    Requested,
    TurnedAway,
    Writable,
)
from meshcore.wire.trace_field import trace_headers
from tests.support.stream_pair import SMALL, Pair

SIZES = st.sampled_from([0, 1, 50, 700, 1_016, 1_024, 1_025, 3_000, 5_000, 6_000])
TRACES = ("traceparent", "tracestate")
HEADERS = st.dictionaries(
    st.sampled_from(["a", "b", *TRACES]), st.sampled_from(["", "1", "v" * 40, "p" * 55, "q" * 55, "w" * 150])
)


class Asked:
    """What the test knows of a call: what each side has sent, and what has come."""

    def __init__(self, method: str, payload: bytes, headers: dict[str, str], *, items: bool) -> None:
        self.request = (method, payload, headers, items)
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.end: object = None  # how the server has ended it
        self.uploading = items
        self.canceled = False
        # At the server
        self.begun = False
        self.server_canceled = False
        self.came_up: list[bytes] = []
        self.up_ended = False
        self.server_waits = False
        # At the client
        self.came_down: list[bytes] = []
        self.over: object = None
        self.client_waits = False
        self.unread_up: deque[bytes] = deque()
        self.unread_down: deque[bytes] = deque()


class Connected(RuleBasedStateMachine):
    """Calls of all shapes, whose bytes come in pieces of any size and whose events in any order."""

    @initialize()
    def connect(self) -> None:
        """Nothing is on its way but the hellos."""
        self.pair = Pair()
        self.calls: dict[int, Asked] = {}
        self.count = 0
        self.accepted: int | None = None
        self.ready = [False, False]

    # What travels

    @rule(count=st.integers(1, 3_000), most=st.integers(0, 5_000))
    def travel_up(self, count: int, most: int) -> None:
        """The client writes, the server reads."""
        self.pair.up += self.pair.client.data_to_send(most)
        self.at_client(self.pair.client.progress())
        self.at_server(self.pair.to_server(count))

    @rule(count=st.integers(1, 3_000), most=st.integers(0, 5_000))
    def travel_down(self, count: int, most: int) -> None:
        """The server writes, the client reads."""
        self.pair.down += self.pair.server.data_to_send(most)
        self.at_server(self.pair.server.progress())
        self.at_client(self.pair.to_client(count))

    @rule(seconds=st.floats(0, 4))
    def wait(self, seconds: float) -> None:
        """Time passes, and all that is on its way comes."""
        self.pair.now += seconds
        self.at_client(self.pair.client.tick(self.pair.now))
        self.at_server(self.pair.server.tick(self.pair.now))
        self.settle()

    # What the client does

    @precondition(lambda self: self.pair.client.room)
    @rule(
        method=st.sampled_from([f"{number}" * 150 for number in range(10, 20)]),
        size=SIZES,
        headers=HEADERS,
        items=st.booleans(),
    )
    def ask(self, method: str, size: int, headers: dict[str, str], items: bool) -> None:  # noqa: FBT001
        """A call begins."""
        payload = self.payload(size)
        number = self.pair.client.request(method, payload, headers, 5.0, items=items)
        assert number not in self.calls
        self.calls[number] = Asked(method, payload, headers, items=items)

    @precondition(lambda self: self.uploads())
    @rule(pick=st.integers(0, 100), size=SIZES)
    def send_up(self, pick: int, size: int) -> None:
        """An item of the client."""
        number = self.pick(self.uploads(), pick)
        call, payload = self.calls[number], self.payload(size)
        call.up.append(payload)
        call.client_waits = self.pair.client.send_item(number, payload) is False

    @precondition(lambda self: self.uploads())
    @rule(pick=st.integers(0, 100))
    def end_up(self, pick: int) -> None:
        """The client's last item was sent."""
        number = self.pick(self.uploads(), pick)
        self.pair.client.end(number)
        self.calls[number].uploading = False

    @precondition(lambda self: self.calls)
    @rule(pick=st.integers(0, 100))
    def cancel(self, pick: int) -> None:
        """The caller gives up, perhaps too late."""
        number = self.pick(list(self.calls), pick)
        call = self.calls[number]
        self.pair.client.cancel(number)
        if call.over is None:
            call.canceled = True
        call.uploading = False
        call.unread_down.clear()

    @precondition(lambda self: self.unread("unread_down"))
    @rule(pick=st.integers(0, 100), release=st.booleans())
    def read_down(self, pick: int, release: bool) -> None:  # noqa: FBT001
        """The client's reader takes an item, or wants no more."""
        number = self.pick(self.unread("unread_down"), pick)
        call = self.calls[number]
        if release and call.over is not None:
            self.pair.client.release(number)
            call.unread_down.clear()
        else:
            self.pair.client.consumed(number, len(call.unread_down.popleft()))

    # What the server does

    @precondition(lambda self: self.served())
    @rule(
        pick=st.integers(0, 100),
        how=st.sampled_from(["answer", "error", "end", "refuse", "item", "item", "item"]),
        size=SIZES,
    )
    def serve(self, pick: int, how: str, size: int) -> None:
        """The server sends an item, or ends a call."""
        number = self.pick(self.served(), pick)
        call, server, payload = self.calls[number], self.pair.server, self.payload(size)
        if how in {"answer", "refuse"} and call.down and not call.server_canceled:
            how = "error"
        if how == "refuse" and call.server_canceled:
            how = "error"
        if how == "item":
            call.server_waits = server.send_item(number, payload) is False
            if not call.server_canceled:
                call.down.append(payload)
            return
        call.end = {"answer": Answered, "error": Erred, "end": Ended, "refuse": Refused}[how], payload
        if how == "answer":
            server.answer(number, payload)
        elif how == "error":
            server.error(number, payload)
        elif how == "end":
            server.end(number)
        else:
            server.refuse(number, Refusal.OVERLOADED, "no")
        call.unread_up.clear()

    @precondition(lambda self: self.unread("unread_up"))
    @rule(pick=st.integers(0, 100))
    def read_up(self, pick: int) -> None:
        """The server's reader takes an item."""
        number = self.pick(self.unread("unread_up"), pick)
        self.pair.server.consumed(number, len(self.calls[number].unread_up.popleft()))

    @precondition(lambda self: self.served())
    @rule(pick=st.integers(0, 100))
    def decode(self, pick: int) -> None:
        """The server does not need the request's bytes any more."""
        self.pair.server.release(self.pick(self.served(), pick))

    @precondition(lambda self: self.ready[1] and self.accepted is None and self.count > 4)
    @rule()
    def drain(self) -> None:
        """The server stops in order."""
        self.pair.server.go_away("stopping")
        self.accepted = self.pair.server._calls.last

    # What comes

    def at_server(self, events: list[object]) -> None:
        """Events of the server fit what the client has sent."""
        for event in events:
            match event:
                case Ready():
                    self.ready[1] = True
                case Requested():
                    call = self.calls[event.call]
                    assert not call.begun
                    assert self.accepted is None or event.call <= self.accepted
                    call.begun = True
                    trace = {name.decode(): value.decode() for name, value in trace_headers(event.trace)}
                    headers = {**event.headers, **trace} if event.trace else dict(event.headers)
                    assert call.request == (event.method, event.payload, headers, event.items)
                    assert event.timeout == 5.0
                case TurnedAway():
                    call = self.calls[event.request.call]
                    assert not call.begun
                    assert event.refusal is not Refusal.CANCELED
                case Item():
                    call = self.calls[event.call]
                    assert call.begun
                    call.came_up.append(event.payload)
                    assert call.up[: len(call.came_up)] == call.came_up
                    call.unread_up.append(event.payload)
                case Ended():
                    call = self.calls[event.call]
                    assert call.came_up == call.up
                    assert not call.up_ended
                    call.up_ended = True
                case Canceled():
                    call = self.calls[event.call]
                    assert call.canceled
                    assert call.begun
                    assert call.end is None
                    call.server_canceled = True
                    call.server_waits = False
                    call.unread_up.clear()
                case Writable():
                    assert self.calls[event.call].server_waits
                    self.calls[event.call].server_waits = False
                case Ponged():
                    assert event.seconds >= 0
                case _:
                    raise AssertionError(event)

    def at_client(self, events: list[object]) -> None:
        """Events of the client fit what the server has sent."""
        for event in events:
            match event:
                case Ready():
                    self.ready[0] = True
                case Item():
                    call = self.calls[event.call]
                    assert not call.canceled
                    assert call.over is None
                    call.came_down.append(event.payload)
                    call.unread_down.append(event.payload)
                    assert call.down[: len(call.came_down)] == call.came_down
                case Answered() | Erred() | Ended():
                    call = self.calls[event.call]
                    assert not call.canceled
                    assert call.over is None
                    assert call.end is not None
                    assert call.end[0] is type(event)
                    if not isinstance(event, Ended):
                        assert call.end[1] == event.payload
                    assert call.came_down == call.down
                    self.over(call, event)
                case Refused():
                    call = self.calls[event.call]
                    assert not call.canceled
                    assert call.over is None
                    assert call.end[0] is Refused if call.begun else event.call > self.accepted
                    self.over(call, event)
                case Writable():
                    assert self.calls[event.call].client_waits
                    self.calls[event.call].client_waits = False
                case GoneAway():
                    assert event.last == self.accepted
                case Ponged():
                    assert event.seconds >= 0
                case _:
                    raise AssertionError(event)

    def over(self, call: Asked, event: object) -> None:
        """A call has ended at its client."""
        call.over = event
        call.uploading = False
        call.client_waits = False

    # Helpers

    def payload(self, size: int) -> bytes:
        """Bytes that no other payload of that size has."""
        self.count += 1
        return (b"%d." % self.count * (size // 2 + 1))[:size]

    def pick(self, numbers: list[int], pick: int) -> int:
        """One of them."""
        return numbers[pick % len(numbers)]

    def uploads(self) -> list[int]:
        """Calls whose client may send items."""
        return [number for number, call in self.calls.items() if call.uploading and not call.client_waits]

    def served(self) -> list[int]:
        """Calls whose server has to do something."""
        return [
            number for number, call in self.calls.items() if call.begun and call.end is None and not call.server_waits
        ]

    def unread(self, where: str) -> list[int]:
        """Calls whose reader has items."""
        return [number for number, call in self.calls.items() if getattr(call, where)]

    def settle(self) -> None:
        """All that can travel has."""
        pair = self.pair
        while pair.client.pending or pair.server.pending or pair.up or pair.down:
            pair.up += pair.client.data_to_send()
            pair.down += pair.server.data_to_send()
            self.at_client(pair.client.progress())
            self.at_server(pair.server.progress())
            self.at_server(pair.to_server())
            self.at_client(pair.to_client())

    @invariant()
    def memory_is_bounded(self) -> None:
        """No side holds more than its limits say."""
        most = SMALL.small_bytes + SMALL.large_bytes + SMALL.stream_bytes
        for side in (self.pair.client, self.pair.server):
            assert 0 <= side.held <= most
            assert side.calls <= SMALL.calls
            assert not side.closed

    def finish(self, number: int, call: Asked) -> bool:
        """Everybody reads what has come and ends what they can; whether there was something."""
        client, server, moved = self.pair.client, self.pair.server, bool(call.unread_down or call.unread_up)
        while call.unread_down:
            client.consumed(number, len(call.unread_down.popleft()))
        while call.unread_up:
            server.consumed(number, len(call.unread_up.popleft()))
        if call.uploading and not call.client_waits:
            client.end(number)
            call.uploading, moved = False, True
        if call.begun and call.end is None and not call.server_waits:
            server.end(number)
            call.end, moved = (Ended, b""), True
        return moved

    def teardown(self) -> None:
        """When all readers read and all calls are ended, each call has its outcome and nothing is held."""
        if not hasattr(self, "pair"):
            return
        self.settle()
        while sum(self.finish(number, call) for number, call in self.calls.items()):
            self.settle()
        for call in self.calls.values():
            assert call.canceled or call.over is not None
        for side in (self.pair.client, self.pair.server):
            assert side.calls == 0
            assert side.held == 0
            assert side.waiting == 0
            assert not side.lost()


TestConnected = Connected.TestCase
TestConnected.settings = settings(max_examples=40, stateful_step_count=60)
