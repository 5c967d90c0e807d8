"""Any bytes, in any pieces: the same events, or a coded error that names what is wrong."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshcore.wire import frames
from meshcore.wire.frames import (
    HEAD,
    ITEMS,
    MORE,
    REQUEST_BODY,
    TRACE,
    TRACE_SIZE,
    Kind,
    Reason,
    Refusal,
    Table,
    frame,
)
from meshcore.wire.stream.connection import Connection
from meshcore.wire.stream.events import (
    Answered,
    Canceled,
    Ended,
    Erred,
    Event,
    Failed,
    GoneAway,
    Item,
    Ponged,
    Ready,
    Requested,
    Writable,
)
from meshcore.wire.stream.limits import Limits, settings_of
from tests.support.stream_pair import SMALL, Pair, ready

HELLO = frames.hello((1, 1), 1, settings_of(SMALL))
METHOD = frames.define(Table.METHODS, 0, b"a:b:c")


def request(call: int, payload: bytes = b"", flags: int = 0, method: int = 0, block: bytes = b"") -> bytes:
    """A REQUEST."""
    return frame(Kind.REQUEST | flags, call, REQUEST_BODY.pack(method, 0, len(block)) + block + payload)


def server() -> Connection:
    """A server that has sent its hello."""
    connection = Connection(client=False, now=0.0, limits=SMALL)
    connection.data_to_send()
    return connection


def scenario(sizes: list[int]) -> tuple[list[Event], list[Event]]:
    """Calls of all shapes; the events of both sides, if the bytes come in pieces of these sizes, again and again."""
    pair, pieces = Pair(), itertools.cycle(sizes)
    client: list[Event] = []
    server: list[Event] = []

    def travel() -> None:
        while pair.client.pending or pair.server.pending:
            client.extend(pair.write(100_000))
            while pair.up:
                server.extend(pair.to_server(next(pieces)))
            while pair.down:
                client.extend(pair.to_client(next(pieces)))

    travel()
    unary = pair.client.request("a:b:c", b"1" * 50, {"tenant": "blue"}, 2.0)
    large = pair.client.request("a:b:c", b"2" * 3_000, {"tenant": "blue"})
    stream = pair.client.request("a:b:d", b"3", {"tenant": "blue"}, items=True)
    canceled = pair.client.request("a:b:e", b"4", {"other": "red"})
    travel()
    pair.server.answer(unary, b"5" * 60)
    pair.server.error(large, b"6" * 2_500)
    for number in range(4):
        pair.client.send_item(stream, b"7" * 20 * number)
        pair.server.send_item(stream, b"8" * 500 * number)
    pair.client.cancel(canceled)
    pair.now += 20
    client.extend(pair.client.tick(pair.now))
    travel()
    pair.client.end(stream)
    pair.server.end(stream)
    pair.server.error(canceled, b"gone")
    pair.server.go_away("stopping")
    travel()
    return client, server


WHOLE = scenario([100_000])
UP = HELLO + METHOD + request(1, b"1" * 50) + request(2, b"", ITEMS) + frame(Kind.ITEM, 2, b"7") + frame(Kind.END, 2)
DOWN = HELLO + frame(Kind.ITEM, 2, b"8") + frame(Kind.ANSWER, 1, b"9") + frame(Kind.END, 2)


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=12))
@example([1])
def test_every_split_gives_the_same_events(sizes: list[int]) -> None:
    """How the transport cuts the bytes does not matter."""
    assert scenario(sizes) == WHOLE


def test_the_scenario_has_events_of_all_kinds() -> None:
    """So that the test above says something."""
    kinds = {type(event) for events in WHOLE for event in events}
    assert kinds == {Ready, Requested, Answered, Erred, Canceled, Item, Ended, Writable, Ponged, GoneAway}


def failure(connection: Connection, data: bytes) -> Failed | None:
    """How the connection ends with these bytes, if it does."""
    events = connection.feed(data, 0.0)
    found = events[-1] if events else None
    assert not any(isinstance(event, Failed) for event in events[:-1])
    assert isinstance(found, Failed) == connection.closed
    return found if isinstance(found, Failed) else None


@given(st.binary(max_size=300))
@example(b"HTTP/1.1 400 Bad Request\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
def test_any_first_bytes(data: bytes) -> None:
    """Whoever does not speak the protocol is told so as soon as a head is there."""
    found = failure(server(), data)
    if len(data) >= HEAD.size and data[4] != Kind.HELLO:
        assert found is not None
        assert found.reason is Reason.VERSION
        assert repr(data[:8])[2:-1] in found.text


KINDS = st.one_of(
    st.sampled_from([int(kind) | flag for kind in Kind for flag in (0, MORE, ITEMS, TRACE)]), st.integers(0, 255)
)
BODIES = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda block, rest: REQUEST_BODY.pack(0, 0, len(block)) + block + rest,
        st.binary(max_size=8),
        st.binary(max_size=8),
    ),
    st.builds(
        lambda trace, rest: REQUEST_BODY.pack(0, 0, 0) + TRACE_SIZE.pack(len(trace)) + trace + rest,
        st.integers(54, 60).map(lambda size: b"x" * size),
        st.binary(max_size=8),
    ),
)
FRAMES = st.builds(frame, KINDS, st.integers(0, 5), BODIES)
PARTS = st.one_of(FRAMES, st.sampled_from([UP, DOWN, METHOD]), st.binary(max_size=20))


@pytest.mark.parametrize("client", [True, False])
@given(
    st.lists(st.one_of(FRAMES, st.sampled_from([UP, DOWN, METHOD]), st.binary(max_size=20)), max_size=30), st.randoms()
)
def test_any_frames(client: bool, parts: list[bytes], chance: random.Random) -> None:  # noqa: FBT001
    """Whatever comes, in whatever state, is an event or a coded error; and nothing grows."""
    pair = ready()
    side = pair.client if client else pair.server
    if client:
        side.request("a", b"1" * 3_000, items=True)
        side.request("a", b"1")
    for part in parts:
        events = side.feed(part, pair.now)
        assert side.held <= SMALL.small_bytes + SMALL.large_bytes + SMALL.stream_bytes
        assert side.calls <= SMALL.calls
        if not client:
            for event in events:
                if isinstance(event, Requested) and chance.random() < 0.5:
                    side.answer(event.call, b"1" * chance.choice([0, 10, 5_000]))
        if side.closed:
            assert isinstance(events[-1], Failed)
            assert events[-1].text
            side.lost()
            assert side.feed(part, pair.now) == []
            assert not side.pending
            return
        assert len(side.data_to_send()) < 200_000


BEGUN, STREAM = METHOD + request(1, b"", MORE), METHOD + request(1, b"", ITEMS)
NAME = frames.define(Table.NAMES, 0, b"n")
LONG_NAMES = frames.define(Table.METHODS, 0, b"m" * 1_000) + frames.define(Table.METHODS, 1, b"m" * 30)
SERVER_FAULTS = [
    (frame(Kind.ANSWER, 1), Reason.PROTOCOL, "ANSWER for call 1, which has not begun"),
    (frame(31, 1), Reason.PROTOCOL, "unknown kind 31"),
    (frame(Kind.HELLO, 0, HELLO[HEAD.size :]), Reason.PROTOCOL, "HELLO from a client"),
    (HEAD.pack(1_025, Kind.ITEM, 1), Reason.FRAME_SIZE, "ITEM has a body of 1025 bytes, the limit is 1024"),
    (request(1), Reason.TABLE, "method 0, there are 0"),
    (METHOD + METHOD + request(1, method=1), Reason.TABLE, "method 1, there are 1"),
    (METHOD + request(2) + request(2), Reason.PROTOCOL, "call 2, after call 2"),
    (METHOD + frame(Kind.REQUEST, 1, b"123"), Reason.PROTOCOL, "body of 3 bytes"),
    (METHOD + frame(Kind.REQUEST, 1, REQUEST_BODY.pack(0, 0, 9)), Reason.PROTOCOL, "headers of 9"),
    (METHOD + request(1, b"x", MORE), Reason.PROTOCOL, "payload of 1 bytes in the same frame"),
    (BEGUN + frame(Kind.DATA | MORE, 1), Reason.PROTOCOL, "an empty chunk for call 1"),
    (
        BEGUN + frame(Kind.END, 1),
        Reason.PROTOCOL,
        "END for call 1 in state REQUEST, where",
    ),
    (
        BEGUN + frame(Kind.DATA | MORE, 1, b"x" * 1_000) * 7,
        Reason.LIMIT,
        "more than 6000 bytes",
    ),
    (STREAM + frame(Kind.ITEM, 1) * 5, Reason.CREDIT, "which has no credit left"),
    (STREAM + frame(Kind.ITEM, 1, b"x" * 999) * 4, Reason.CREDIT, "no credit left"),
    (
        STREAM + frame(Kind.END, 1) + frame(Kind.ITEM, 1),
        Reason.PROTOCOL,
        "ITEM for call 1 in state DONE",
    ),
    (METHOD + request(1) + frame(Kind.DATA, 1, b"x"), Reason.PROTOCOL, "DATA for call 1 in state DONE"),
    (METHOD + b"".join(request(number, b"x" * 900) for number in (1, 2, 3)), Reason.CREDIT, "SMALL"),
    (METHOD + b"".join(map(request, range(1, 7))), Reason.LIMIT, "more than 5 calls in flight"),
    (METHOD + request(1, block=b"\x80\x00"), Reason.TABLE, "header 0 is not defined"),
    (METHOD + request(1, block=b"\x00\x07\x00\x00"), Reason.TABLE, "header name 7 is not defined"),
    (METHOD + request(1, block=b"\x00"), Reason.PROTOCOL, "ends within a number"),
    (
        NAME + METHOD + request(1, block=b"\x00\x00\x00"),
        Reason.PROTOCOL,
        "'n' ends within",
    ),
    (NAME + METHOD + request(1, block=b"\0\0\0\5v"), Reason.PROTOCOL, "'n' goes beyond"),
    (
        NAME + METHOD + request(1, block=b"\0\0\0\0" * 2),
        Reason.PROTOCOL,
        "'n' comes twice",
    ),
    (frames.define(Table.NAMES, 0, b"\xff"), Reason.PROTOCOL, "no UTF-8"),
    (frames.define(Table.HEADERS, 0, b"n"), Reason.TABLE, "too short"),
    (frames.define(Table.HEADERS, 0, b"\0\0"), Reason.TABLE, "header name 0 is not defined"),
    (frames.define(Table.NAMES, 1, b"n"), Reason.TABLE, "number 1 in table NAMES, where 0 is the next"),
    (frame(Kind.DEFINE, 0, b"\x09\0\0"), Reason.TABLE, "table 9"),
    (frame(Kind.DEFINE, 0, b"\x09"), Reason.PROTOCOL, "DEFINE has a body of 1 bytes"),
    (b"".join(frames.define(Table.METHODS, n, b"m") for n in range(17)), Reason.LIMIT, "17 entries"),
    (
        frames.define(Table.METHODS, 0, b"m" * 1_000) + frames.define(Table.METHODS, 1, b"m" * 30),
        Reason.LIMIT,
        "1030 bytes",
    ),
    (METHOD + request(1, block=b"\0" * 950), Reason.LIMIT, "block of 950 bytes, the limit is 900"),
    (frame(Kind.CREDIT, 0, b"x"), Reason.PROTOCOL, "CREDIT has a body of 1 bytes, not 12"),
    (frames.credit(1, 0, 0), Reason.CREDIT, "more than was used"),
    (METHOD + request(1) + frame(Kind.CREDIT, 1, b"x"), Reason.PROTOCOL, "not 8"),
    (METHOD + request(1) + frames.call_credit(1, 2**31, 0), Reason.CREDIT, "more than can be counted"),
    (frame(Kind.PING, 0, b"x"), Reason.PROTOCOL, "PING has a body of 1 bytes"),
    (frame(Kind.PONG, 0, b"12345678"), Reason.PROTOCOL, "answers no PING"),
    (frame(Kind.PING, 0, b"12345678") * 1_006, Reason.FLOOD, "1006 frames"),
    (frame(Kind.GO_AWAY, 0, b"x"), Reason.PROTOCOL, "GO_AWAY has a body of 1"),
    (METHOD + request(1) + frame(Kind.CANCEL, 1, b"x"), Reason.PROTOCOL, "CANCEL has a body of 1"),
    (STREAM + frame(Kind.END, 1, b"x"), Reason.PROTOCOL, "END has a body of 1"),
    (
        METHOD + b"".join(request(n, b"", MORE) + frame(Kind.CANCEL, n) for n in range(1, 1_100)),
        Reason.FLOOD,
        "1006 frames",
    ),
]


@pytest.mark.parametrize(("data", "reason", "text"), SERVER_FAULTS, ids=[text for _, _, text in SERVER_FAULTS])
def test_a_fault_of_a_client(data: bytes, reason: Reason, text: str) -> None:
    """Each has its code, and a text that names it; the client is told the same."""
    connection = server()
    found = failure(connection, HELLO + data)
    assert found is not None
    assert (found.reason, text in found.text) == (reason, True), found.text
    client = Connection(client=True, now=0.0)
    told = failure(client, HELLO + connection.data_to_send().split(HELLO)[-1][-HEAD.size - 5 - len(found.text) :])
    assert told == Failed(reason, f"the peer says: {found.text}")
    assert not client.data_to_send().endswith(found.text.encode())


CLIENT_FAULTS = [
    (frame(Kind.ANSWER, 1) * 2, Reason.PROTOCOL, "call 1, which has ended"),
    (frame(Kind.ANSWER, 2), Reason.PROTOCOL, "call 2, which has not begun"),
    (METHOD, Reason.PROTOCOL, "DEFINE from a server"),
    (frame(Kind.REQUEST, 3), Reason.PROTOCOL, "REQUEST for call 3"),
    (frame(Kind.ITEM, 1) + frame(Kind.ANSWER, 1), Reason.PROTOCOL, "ANSWER for call 1 in state OPEN"),
    (frame(Kind.ANSWER | MORE, 1) + frame(Kind.END, 1), Reason.PROTOCOL, "END for call 1 in state ANSWER"),
    (frame(Kind.REFUSED, 1), Reason.PROTOCOL, "REFUSED has an empty body"),
    (frame(Kind.ANSWER | MORE, 1) + frame(Kind.DATA | MORE, 1, b"x" * 1_024) * 10, Reason.LIMIT, "6000"),
]


@pytest.mark.parametrize(("data", "reason", "text"), CLIENT_FAULTS, ids=[text for _, _, text in CLIENT_FAULTS])
def test_a_fault_of_a_server(data: bytes, reason: Reason, text: str) -> None:
    """As of a client."""
    pair = ready()
    pair.client.request("a", b"")
    found = failure(pair.client, data)
    assert found is not None
    assert (found.reason, text in found.text) == (reason, True), found.text


HELLOS = [
    (frames.hello((2, 3), 1, []), Reason.VERSION, "versions 2 to 3, this side 1 to 1"),
    (frame(Kind.HELLO, 0, b"h2c\0\1\1\0\0\0\0"), Reason.VERSION, "not one of this protocol"),
    (frame(Kind.HELLO, 0, b"mesh"), Reason.VERSION, "not one of this protocol"),
    (frames.hello((1, 1), 1, [(1, 10)]), Reason.LIMIT, "frame is 10, not 1024"),
    (frames.hello((1, 1), 1, [(2, 2**32 - 1)]), Reason.LIMIT, "message is 4294967295"),
    (frames.hello((1, 1), 1, [(2, 17 * 2**20)]), Reason.LIMIT, "large_bytes is 16777216, not at least message"),
]


@pytest.mark.parametrize(("hello", "reason", "text"), HELLOS, ids=[text for _, _, text in HELLOS])
def test_a_hello_that_does_not_fit(hello: bytes, reason: Reason, text: str) -> None:
    """Nothing is assumed: the connection ends."""
    found = failure(server(), hello)
    assert found is not None
    assert (found.reason, text in found.text) == (reason, True), found.text


def test_what_newer_peers_say_is_understood() -> None:
    """Unknown settings and features are ignored, unknown numbers of reasons have a meaning."""
    connection = server()
    hello = frames.hello((1, 9), 0xFFFFFFFF, [*settings_of(SMALL), (200, 5)])
    ready_event = connection.feed(hello, 0.0)[0]
    assert (ready_event.version, ready_event.features, ready_event.limits.frame) == (1, 3, SMALL.frame)
    assert frames.read_refused(b"\xc8text") == (Refusal.OVERLOADED, "text")
    assert frames.read_go_away(b"\xc8\0\0\0\1text") == (Reason.PROTOCOL, 1, "text")
    assert Connection(client=True, now=0.0, limits=Limits.of_message(10)).data_to_send()
