"""The pipe of a stream: whoever waits is woken by what it waits for, by the end, and by the other side's leaving."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.streaming.item_buffer import StreamClosedError
from meshcore.core.streaming.pipe import END, Items, Pipe, wait_for_loop


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


@given(
    st.integers(1, 5), st.integers(0, 40), st.lists(st.booleans(), max_size=200), st.sampled_from([None, ValueError])
)
def test_every_item_arrives_once_and_in_order(limit, count, turns, fails) -> None:
    """Whatever the turns of writer and reader: all items, then the end or the error, and never too far ahead."""

    async def run() -> None:
        pipe = Pipe(limit)
        ahead: list[int] = []
        turn = iter(turns)

        async def write() -> None:
            for item in range(count):
                await pipe.send(item)
                ahead.append(item)
                if next(turn, False):
                    await asyncio.sleep(0)
            pipe.end(fails and fails("broken"))

        writer = asyncio.create_task(write())
        got: list[object] = []
        try:
            while (item := await pipe.receive()) is not END:
                got.append(item)
                assert len(ahead) - len(got) <= limit
                if next(turn, False):
                    await asyncio.sleep(0)
        except ValueError:
            assert fails
        else:
            assert not fails
        assert got == list(range(count))
        await writer
        assert await pipe.receive() is END

    asyncio.run(run())


async def test_a_writer_waits_until_half_of_the_items_are_read() -> None:
    """It is not woken for each item."""
    pipe = Pipe(4)
    for item in range(4):
        await pipe.send(item)
    writer = asyncio.create_task(pipe.send(4))
    await settle()
    assert await pipe.receive() == 0
    await settle()
    assert not writer.done()
    assert await pipe.receive() == 1
    await writer
    assert await pipe.receive_all() == [2, 3, 4]


async def test_closing_wakes_a_writer() -> None:
    """Its reader has left."""
    pipe = Pipe(1)
    await pipe.send(0)
    writer = asyncio.create_task(pipe.send(1))
    await settle()
    pipe.close()
    with pytest.raises(StreamClosedError):
        await writer
    with pytest.raises(StreamClosedError):
        await pipe.send(2)
    assert not pipe.open


@pytest.mark.parametrize("receive", [Pipe.receive, Pipe.receive_all])
async def test_closing_wakes_a_reader(receive) -> None:
    """The call has ended."""
    pipe = Pipe()
    reader = asyncio.create_task(receive(pipe))
    await settle()
    pipe.close()
    with pytest.raises(StreamClosedError):
        await reader


async def test_the_end_wakes_a_writer_that_waits() -> None:
    """As a deadline does that ends the call while its implementation, in a thread, waits for the reader."""
    pipe = Pipe(1)
    await pipe.send(0)
    writer = asyncio.create_task(pipe.send(1))
    await settle()
    pipe.end()
    with pytest.raises(StreamClosedError):
        await writer
    assert await pipe.receive_all() == [0]
    assert await pipe.receive_all() == []


async def test_a_cancelled_reader_loses_nothing() -> None:
    """The item that comes then is for the next one."""
    pipe = Pipe()
    reader = asyncio.create_task(pipe.receive())
    await settle()
    reader.cancel()
    await asyncio.wait([reader])
    await pipe.send(1)
    assert await pipe.receive() == 1


async def test_two_readers_at_once_are_told_so() -> None:
    """As two tasks are that read one generator."""
    pipe = Pipe()
    reader = asyncio.create_task(pipe.receive())
    await settle()
    with pytest.raises(RuntimeError, match="one task at a time"):
        await pipe.receive()
    await pipe.send(1)
    assert await reader == 1


async def test_a_thread_reads_the_items_of_a_pipe() -> None:
    """Batch by batch, to the end."""
    pipe, loop = Pipe(2), asyncio.get_running_loop()
    reading = asyncio.create_task(asyncio.to_thread(lambda: list(Items(pipe).blocking(loop))))
    for item in range(10):
        await pipe.send(item)
    pipe.end()
    assert await reading == list(range(10))


async def test_a_thread_is_told_that_the_loop_has_ended() -> None:
    """It would wait for ever."""
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(StreamClosedError, match="event loop of the stream is closed"):
        wait_for_loop(loop, Pipe().receive())
