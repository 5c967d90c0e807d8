"""What a connection does in single situations; the tests of any course of events are in test_stateful."""

from __future__ import annotations

import pytest

from meshcore.core.errors import Code, LocalError
from meshcore.wire.frames import Kind, Reason, Refusal, frame
from meshcore.wire.stream.connection import Connection
from meshcore.wire.stream.events import (
    Answered,
    Canceled,
    Ended,
    Erred,
    Failed,
    GoneAway,
    Item,
    Lost,
    Ponged,
    Refused,
    Requested,
    TurnedAway,
    Writable,
)
from meshcore.wire.stream.heartbeat import AHEAD
from meshcore.wire.stream.limits import Limits
from meshcore.wire.stream.link import LAST_NUMBER
from tests.support.stream_pair import SMALL, Pair, ready

LONGEST = LAST_NUMBER / 1000
LARGE = Limits.of_message(64 * 1024 * 1024)


def begun(pair: Pair, payload: bytes = b"", *, items: bool = False) -> int:
    """A call that its server has."""
    number = pair.client.request("m", payload, items=items)
    _, [event] = pair.settle()
    assert isinstance(event, Requested)
    assert event.call == number
    return number


def begun_without_writing(pair: Pair) -> int:
    """The same, while the server writes nothing."""
    number = pair.client.request("m", b"")
    pair.up += pair.client.data_to_send()
    pair.to_server()
    return number


def test_a_large_answer_does_not_hold_up_others() -> None:
    """A ping and small calls overtake 50 MiB, each within one write; two large answers take turns."""
    pair = ready(LARGE, LARGE)
    first, second, small = begun(pair), begun(pair), begun(pair)
    pair.server.answer(first, b"1" * 50 * 1024 * 1024)
    pair.server.answer(second, b"2" * 10 * 1024 * 1024)
    pair.write(200_000)
    assert pair.to_client() == []
    pair.server.answer(small, b"3")
    pair.client.tick(pair.client.next_tick)
    pair.write(200_000)
    pair.to_server()
    assert pair.to_client() == [Answered(small, b"3")]
    pair.write(200_000)
    assert [type(event) for event in pair.to_client()] == [Ponged]
    order: list[int] = []
    while pair.server.pending:
        pair.write(200_000)
        assert len(pair.down) < 300_000
        order += [event.call for event in pair.to_client() if isinstance(event, Answered)]
        pair.to_server()
    assert order == [second, first]


def test_large_answers_do_not_run_ahead_of_their_reader() -> None:
    """Whatever the transport takes, a bounded part is on its way: more follows when the peer has read of that."""
    pair = ready(LARGE, LARGE)
    large, other = begun(pair), begun(pair)
    size = 5 * AHEAD
    pair.server.answer(large, b"1" * size)
    pair.server.answer(other, b"2" * size)
    most, answered = 0, 0
    while answered < 2:
        while pair.server.pending:
            pair.write(100_000)
        most = max(most, len(pair.down))
        before = len(pair.down)
        pair.write(100_000)
        assert len(pair.down) == before, "it writes as long as it is asked to"
        events = pair.to_client(70_000)
        answered += len([event for event in events if isinstance(event, Answered)])
        pair.write()
        pair.to_server()
    assert AHEAD <= most < AHEAD + 3 * LARGE.frame
    assert pair.server.waiting == 0


def test_one_large_answer_is_no_reason_to_refuse_small_calls() -> None:
    """What waits to be sent is bounded, but never below two messages of the largest size."""
    pair = ready(LARGE, LARGE)
    large = begun(pair)
    pair.server.answer(large, b"1" * LARGE.message)
    small = begun_without_writing(pair)
    pair.server.answer(small, b"2")
    pair.write()
    assert pair.to_client() == [Answered(small, b"2")]


def test_small_answers_do_not_hold_up_a_large_one() -> None:
    """Each write takes a chunk of it along, however much else there is."""
    pair = ready(LARGE, LARGE)
    large = begun(pair)
    pair.server.answer(large, b"1" * 300_000)
    answered: list[int] = []
    for _ in range(6):
        pair.server.answer(begun_without_writing(pair), b"2" * 60_000)
        pair.write(10_000)
        answered += [event.call for event in pair.to_client() if isinstance(event, Answered)]
    assert large in answered


def test_a_payload_is_copied_a_few_times_whatever_the_pieces() -> None:
    """A frame that comes byte by byte, and many frames: no byte is moved again and again."""
    pair = ready(LARGE, LARGE)
    payload = bytes(range(256)) * 1_200
    pair.client.request("m", payload)
    pair.write(10**6)
    events = [event for _ in range(len(pair.up)) for event in pair.to_server(1)]
    assert [event.payload for event in events] == [payload]


def test_a_message_beyond_the_limit_is_not_sent() -> None:
    """The error says how much the peer takes, and the call can still be ended otherwise."""
    pair = ready()
    with pytest.raises(LocalError, match="m: the request is 6001 bytes, more than the server takes, 6000 ") as raised:
        pair.client.request("m", b"1" * 6_001)
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    assert pair.client.calls == 0
    number = begun(pair)
    with pytest.raises(LocalError, match="the answer has 6001 bytes"):
        pair.server.answer(number, b"1" * 6_001)
    with pytest.raises(LocalError, match="the item has 6001 bytes"):
        pair.server.send_item(number, b"1" * 6_001)
    pair.server.error(number, b"too large")
    assert pair.settle() == ([Erred(number, b"too large")], [])


def test_calls_beyond_the_limit_are_not_begun() -> None:
    """`room` says how many may be."""
    pair = Pair()
    assert (pair.client.room, pair.client.ready) == (0, False)
    with pytest.raises(ValueError, match="no room"):
        pair.client.request("m", b"")
    pair.settle()
    numbers = [begun(pair) for _ in range(SMALL.calls)]
    assert pair.client.room == 0
    with pytest.raises(ValueError, match="no room"):
        pair.client.request("m", b"")
    pair.server.answer(numbers[2], b"")
    pair.settle()
    assert pair.client.room == 1


def test_numbers_are_used_once() -> None:
    """When all are used, the connection can take no more calls."""
    pair = ready()
    pair.client._calls.last = pair.server._calls.last = LAST_NUMBER - 1
    number = begun(pair)
    assert number == LAST_NUMBER
    assert (pair.client.room, pair.client.exhausted) == (0, True)
    with pytest.raises(ValueError, match="no room"):
        pair.client.request("m", b"")


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (None, None),
        (5.0, 5.0),
        (0.0004, 0.001),
        (-3.0, 0.001),
        (1e9, LAST_NUMBER / 1000),
        (float("inf"), LAST_NUMBER / 1000),
    ],
)
def test_the_time_that_is_left(given: float | None, seen: float | None) -> None:
    """In milliseconds, as many as there are."""
    pair = ready()
    pair.client.request("m", b"", timeout=given)
    _, [event] = pair.settle()
    assert isinstance(event, Requested)
    assert event.timeout == seen


def test_a_canceled_call_counts_until_its_server_ends_it() -> None:
    """A client cannot have more work done by canceling and calling again."""
    pair = ready()
    number = begun(pair)
    pair.client.cancel(number)
    assert pair.settle() == ([], [Canceled(number)])
    assert pair.client.room == SMALL.calls - 1
    pair.server.answer(number, b"too late")
    assert pair.settle() == ([], [])
    assert pair.client.room == SMALL.calls


def test_a_call_may_be_canceled_before_its_request_is_complete() -> None:
    """Its server hears nothing of it, and holds nothing of it."""
    pair = ready()
    number = pair.client.request("m", b"1" * 5_000)
    pair.write(0)
    pair.write(1_500)
    assert pair.to_server() == []
    assert pair.server.held > 0
    pair.client.cancel(number)
    assert pair.settle() == ([], [])
    assert (pair.client.calls, pair.server.calls, pair.server.held, pair.client.waiting) == (0, 0, 0, 0)


def test_a_drain_loses_and_doubles_nothing() -> None:
    """Accepted calls are answered, later ones come back as not processed, and no more can be begun."""
    pair = ready()
    accepted = begun(pair)
    pair.server.go_away("stopping")
    late = pair.client.request("m", b"")
    upload = pair.client.request("m", b"", items=True)
    pair.client.send_item(upload, b"1")
    client, server = pair.settle()
    assert [(event.request.call, event.refusal) for event in server if isinstance(event, TurnedAway)] == [
        (late, Refusal.DRAINING),
        (upload, Refusal.DRAINING),
    ]
    assert len(server) == 2
    refused = [Refused(call, Refusal.DRAINING, "stopping") for call in (late, upload)]
    assert client == [*refused, GoneAway("stopping", accepted)]
    assert (pair.client.room, pair.client.exhausted, pair.server.calls) == (0, True, 1)
    pair.server.answer(accepted, b"1")
    assert pair.settle() == ([Answered(accepted, b"1")], [])
    assert (pair.server.calls, pair.server.pending, pair.client.calls) == (0, False, 0)


def test_a_server_that_asks_for_another_connection_accepts_what_is_on_its_way() -> None:
    """The client begins nothing more there, all that it has begun is answered, and a later drain is obeyed."""
    pair = ready()
    accepted = begun(pair)
    pair.server.ask_for_another("renewed")
    late = pair.client.request("m", b"")
    client, server = pair.settle()
    assert [each.call for each in server if isinstance(each, Requested)] == [late]
    assert client == [GoneAway("renewed", LAST_NUMBER)]
    assert (pair.client.room, pair.client.exhausted, pair.server.calls) == (0, True, 2)
    pair.server.go_away("stopping")
    pair.server.ask_for_another("renewed")
    pair.server.answer(accepted, b"1")
    pair.server.answer(late, b"2")
    client, _ = pair.settle()
    assert client == [GoneAway("stopping", late), Answered(accepted, b"1"), Answered(late, b"2")]
    assert (pair.server.calls, pair.server.pending, pair.client.calls) == (0, False, 0)


def test_a_slow_reader_stops_its_writer_and_no_one_else() -> None:
    """Items wait at the writer, which is told when to go on."""
    pair = ready()
    stream, other = begun(pair), begun(pair)
    sent = 0
    while pair.server.send_item(stream, b"%d" % sent):
        sent += 1
        pair.settle()
    assert sent == SMALL.items
    pair.server.answer(other, b"1")
    assert pair.settle() == ([Answered(other, b"1")], [])
    pair.client.consumed(stream, 1)
    assert pair.settle() == ([], [])  # credit is given back in halves
    pair.client.consumed(stream, 1)
    assert pair.settle() == ([Item(stream, b"4")], [Writable(stream)])


def test_an_error_comes_after_the_items_before_it() -> None:
    """Also if they have to wait."""
    pair = ready()
    stream = begun(pair)
    for number in range(6):
        pair.server.send_item(stream, b"%d" % number)
    pair.server.error(stream, b"broken")
    items, _ = pair.settle()
    assert items == [Item(stream, b"%d" % number) for number in range(4)]
    for _ in range(2):
        pair.client.consumed(stream, 1)
    assert pair.settle()[0] == [Item(stream, b"4"), Item(stream, b"5"), Erred(stream, b"broken")]
    assert pair.client.held == 4
    pair.client.release(stream)
    assert pair.client.held == 0


def test_a_call_may_end_before_its_upload() -> None:
    """The client stops sending; what was on its way is dropped."""
    pair = ready()
    number = begun(pair, items=True)
    pair.client.send_item(number, b"1" * 900)
    pair.server.answer(number, b"enough")
    assert pair.settle() == ([Answered(number, b"enough")], [])
    assert pair.client.send_item(number, b"2") is None
    pair.client.end(number)
    assert pair.settle() == ([], [])
    assert (pair.server.calls, pair.server.held) == (0, 0)


def test_streams_are_agreed_on() -> None:
    """A peer without them gets no frame of theirs."""
    pair = Pair()
    pair.client = Connection(client=True, now=pair.now, limits=SMALL, features=0)
    pair.settle()
    with pytest.raises(LocalError, match="does not have") as raised:
        pair.client.request("m", b"", items=True)
    assert raised.value.code is Code.UNIMPLEMENTED
    number = begun(pair)
    with pytest.raises(LocalError, match="no streams"):
        pair.server.send_item(number, b"1")
    pair.server.answer(number, b"1")
    assert pair.settle() == ([Answered(number, b"1")], [])


def test_misuse_is_an_error() -> None:
    """Of the shell's, so it says what it did."""
    pair = ready()
    number = begun(pair)
    with pytest.raises(ValueError, match="call 7 has ended, or has never begun"):
        pair.server.answer(7, b"")
    with pytest.raises(ValueError, match="does not send items"):
        pair.client.send_item(number, b"")
    pair.server.send_item(number, b"1")
    with pytest.raises(ValueError, match="cannot end with an answer"):
        pair.server.answer(number, b"")
    with pytest.raises(ValueError, match="cannot be refused"):
        pair.server.refuse(number, Refusal.OVERLOADED, "")
    pair.server.end(number)
    with pytest.raises(ValueError, match="not any more"):
        pair.server.send_item(number, b"")
    with pytest.raises(ValueError, match="small_bytes is 1, not at least 2 times frame"):
        Connection(client=True, now=0.0, limits=Limits(small_bytes=1))
    assert pair.settle()[0] == [Item(number, b"1"), Ended(number)]


def test_who_does_not_read_is_refused() -> None:
    """A server does not collect answers without bound: it begins with no more calls, and in the end closes."""
    pair = ready(server=Limits(calls=10))
    client, server = pair.client, pair.server
    refused = told = 0
    for _ in range(100_000):
        if not client.room:  # the answers are read by nobody, so the test makes room itself
            for number in list(client._by_number):
                del client._by_number[number]
        client.request("m", b"")
        for event in server.feed(client.data_to_send(), pair.now):
            if isinstance(event, Requested):
                server.answer(event.call, b"")
            elif isinstance(event, TurnedAway):
                assert event.refusal is Refusal.OVERLOADED
                told += 1
            else:
                assert isinstance(event, Failed)
                assert event.reason is Reason.FLOOD
        if server.closed:
            break
        refused = server._calls.replies
    assert server.closed
    assert told >= refused > 0
    assert len(server.data_to_send()) < 1_000_000


def test_a_dead_peer_is_found_in_time() -> None:
    """After the interval a ping, after the timeout the end."""
    pair = ready(ping_interval=10.0, ping_timeout=2.0)
    number = begun(pair)
    assert pair.client.next_tick == 110.0
    assert pair.client.tick(109.9) == []
    assert not pair.client.pending
    assert pair.client.tick(110.0) == []
    assert pair.client.data_to_send()[4] == Kind.PING
    assert pair.client.next_tick == 112.0
    [failed] = pair.client.tick(112.0)
    assert failed == Failed(Reason.SILENT, "nothing came from the peer for 2 s")
    assert not pair.client.pending
    assert pair.client.lost() == [Lost(number, processed=True)]
    assert pair.client.lost() == []


def test_anything_shows_that_the_peer_lives() -> None:
    """Also bytes of a frame that is not complete, while a pong is behind it."""
    pair = ready(ping_interval=10.0, ping_timeout=2.0)
    pair.client.tick(110.0)
    assert pair.client.feed(b"\0", 111.5) == []
    assert pair.client.tick(112.0) == []
    assert pair.client.next_tick == 121.5


def test_the_round_trip_time_is_measured() -> None:
    """From ping to pong."""
    pair = ready()
    pair.now = 110.0
    pair.client.tick(pair.now)
    pair.write()
    pair.to_server()
    pair.now = 110.25
    pair.write()
    assert pair.to_client() == [Ponged(0.25)]


def test_what_was_not_written_was_not_processed() -> None:
    """When a connection breaks, each call says whether it may have been processed."""
    pair = ready()
    written = pair.client.request("m", b"1")
    partly = pair.client.request("m", b"2" * 5_000)
    canceled = pair.client.request("m", b"3")
    pair.client.cancel(canceled)
    pair.client.data_to_send(0)
    later = pair.client.request("m", b"4")
    assert pair.client.lost() == [
        Lost(written, processed=True),
        Lost(partly, processed=False),
        Lost(later, processed=False),
    ]
    assert pair.client.closed
    with pytest.raises(ValueError, match="no room"):
        pair.client.request("m", b"")
    pair.client.cancel(written)
    assert not pair.client.pending


def test_an_error_of_the_client_says_which_calls_were_begun() -> None:
    """The server names the last one in its GO_AWAY; those after it were not processed."""
    pair = ready()
    first = pair.client.request("m", b"1")
    pair.client._outbox.write(frame(Kind.PING, 0, b"bad"))
    second = pair.client.request("m", b"2")
    client, server = pair.settle()
    assert [type(event) for event in server] == [Requested, Failed]
    assert client == [Failed(Reason.PROTOCOL, "the peer says: PING has a body of 3 bytes, not 8")]
    assert pair.client.lost() == [Lost(first, processed=True), Lost(second, processed=False)]


def test_a_server_stops_the_work_of_a_broken_connection() -> None:
    """Only what was begun and has not ended; what its implementations say later is dropped."""
    pair = ready()
    number = begun(pair)
    pair.client.request("m", b"2" * 5_000)
    pair.write(2_000)
    pair.to_server()
    assert pair.server.lost() == [Lost(number, processed=True)]
    pair.server.answer(number, b"")
    pair.server.send_item(number, b"")
    pair.server.end(number)
    assert not pair.server.pending


def test_items_wait_while_the_transport_takes_nothing() -> None:
    """However much credit the peer gives, what was not written is bounded; the writer goes on after the write."""
    generous = Limits(items=100_000, item_bytes=1_000_000)
    pair = ready(generous, generous)
    stream = begun(pair)
    sent = 0
    while pair.server.send_item(stream, b"%d" % sent):
        sent += 1
    assert 30_000 < sent < 40_000
    pair.down += pair.server.data_to_send()
    assert pair.server.progress() == [Writable(stream)]
    pair.server.end(stream)
    items, _ = pair.settle()
    assert items == [*(Item(stream, b"%d" % number) for number in range(sent + 1)), Ended(stream)]


def test_items_may_be_read_after_the_end() -> None:
    """They count as held until each was consumed, or until the reader lets go of the rest."""
    pair = ready()
    read, left = begun(pair), begun(pair)
    for stream in (read, left):
        pair.server.send_item(stream, b"12")
        pair.server.send_item(stream, b"345")
        pair.server.end(stream)
    pair.settle()
    assert (pair.client.calls, pair.client.held) == (0, 10)
    pair.client.consumed(read, 2)
    assert pair.client.held == 8
    pair.client.consumed(read, 3)
    pair.client.consumed(left, 2)
    assert pair.client.held == 3
    pair.client.release(left)
    pair.client.release(left)
    assert pair.client.held == 0


def test_answers_without_credit_wait_and_come_in_turn() -> None:
    """A client that lets go of nothing gets what it has room for; a canceled answer makes room for others."""
    pair = ready()
    numbers = [begun(pair) for _ in range(3)]
    for number in numbers:
        pair.server.answer(number, b"1" * 5_000)
    pair.write(0)
    pair.write(3_000)
    pair.to_client()
    assert pair.server.waiting > 5_000
    pair.client.cancel(numbers[0])
    client, server = pair.settle()
    assert server == []  # the server's part had ended, so nobody has to be told
    assert client == [Answered(number, b"1" * 5_000) for number in numbers[1:]]
    assert (pair.server.waiting, pair.server.calls, pair.client.held) == (0, 0, 0)
