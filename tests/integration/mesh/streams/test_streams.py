"""Streaming methods: the items come in order, and whoever leaves a stream ends it on the other side, too."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshcore import (
    BlockingMesh,
    Call,
    Code,
    CommunicationError,
    Handler,
    Interceptors,
    LocalError,
    Mesh,
    MeshError,
    Policy,
    SendItem,
    Settings,
    StreamHandler,
    awaitable,
    blocking,
    create,
    module,
    with_policy,
)
from tests.integration.mesh.streams.feeds import (
    BlockingFeed,
    BlockingFeedImpl,
    Chat,
    Feed,
    FeedImpl,
    FeedsModule,
    Log,
    Price,
    SoldOut,
    outcome,
    prices,
)


@asynccontextmanager
async def feeds(interceptors: Interceptors | None = None) -> AsyncGenerator[tuple[Mesh, Feed, Log, Chat]]:
    """A mesh with the services, and nothing left of it afterwards."""

    @module(imports=[FeedsModule])
    class Whole:
        @create()
        def interceptors(self) -> Interceptors:
            return interceptors or Interceptors()

    before = asyncio.all_tasks()
    async with Mesh(Whole, settings=Settings(registry="local:")) as mesh:
        yield mesh, await mesh.get_service(Feed), (await mesh.get(FeedImpl)).log, await mesh.get_service(Chat)
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not left


async def until(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait for a state; returns how long that took."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)
    return time.monotonic() - begun


class Source:
    """An async generator of a caller, and whether it was closed."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = False

    async def items(self, count: int = 1_000_000) -> AsyncIterator[int]:
        try:
            for item in range(count):
                self.made += 1
                yield item
        finally:
            self.closed = True


# --- Items ------------------------------------------------------------------------------------------------------------


async def test_a_result_streams() -> None:
    """As an async generator; nothing runs until the first item is asked for."""
    async with feeds() as (_, feed, log, _):
        stream = feed.watch("tea", 100)
        await asyncio.sleep(0)
        assert [price.cents async for price in stream] == list(range(100))
        assert log.ended == ["watch"]
        assert [price async for price in stream] == []
        assert [price async for price in feed.watch("tea", count=0)] == []
        assert [price async for price in feed.watch("tea", sold_out=False)] == [Price("tea", each) for each in range(3)]


async def test_a_parameter_streams() -> None:
    """The result comes when the caller's items have ended, or before."""
    async with feeds() as (_, feed, _, _):
        assert await feed.total(prices(1, 2, 3), start=10) == 16
        assert await feed.total(prices=prices()) == 0
        source = Source()
        assert await feed.first(source.items()) == 0
        assert source.closed
        assert source.made < 40


async def test_both_stream() -> None:
    """One item goes, one comes, as in a conversation."""
    async with feeds() as (_, _feed, _, chat):
        asked: asyncio.Queue[int | None] = asyncio.Queue()

        async def questions() -> AsyncIterator[int]:
            while (item := await asked.get()) is not None:
                yield item

        stream = chat.double(questions())
        for item in range(50):
            asked.put_nowait(item)
            assert await anext(stream) == 2 * item
        asked.put_nowait(None)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_an_error_in_mid_stream_comes_after_the_items_before_it() -> None:
    """As itself, once."""
    async with feeds() as (_, feed, log, _):
        got, error = await outcome(feed.watch("tea", 30, sold_out=True))
        assert [price.cents for price in got] == list(range(30))
        assert isinstance(error, SoldOut)
        assert error.sku == "tea"
        assert log.ended == ["watch"]


# --- Leaving a stream -------------------------------------------------------------------------------------------------


async def _break(feed: Feed) -> None:
    async for item in feed.endless():
        if item == 3:
            break


async def _raise(feed: Feed) -> None:
    async def fail() -> None:
        async for _ in feed.endless():
            1 / 0  # noqa: B018

    with pytest.raises(ZeroDivisionError):
        await fail()


async def _close(feed: Feed) -> None:
    stream = feed.endless()
    assert await anext(stream) == 1
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def _throw(feed: Feed) -> None:
    stream = feed.endless()
    assert await stream.asend(None) == 1
    with pytest.raises(KeyError):
        await stream.athrow(KeyError("x"))


async def _cancel(feed: Feed) -> None:
    async def read() -> None:
        async for _ in feed.endless():
            await asyncio.sleep(0)

    task = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("leave", [_break, _raise, _close, _throw, _cancel])
async def test_leaving_a_stream_closes_the_generator_of_its_implementation(leave: Any) -> None:
    """Within 50 ms, and its `finally` runs."""
    async with feeds() as (_, feed, log, _):
        await leave(feed)
        assert await until(lambda: log.ended == ["endless"]) < 1.0  # 50 ms and what a busy machine takes


async def test_closing_waits_for_the_finally_of_the_implementation() -> None:
    """What it has freed is free then."""
    async with feeds() as (_, feed, log, _):
        stream = feed.endless()
        await anext(stream)
        await stream.aclose()
        assert log.ended == ["endless"]


async def test_a_stream_that_was_never_read_leaves_nothing() -> None:
    """No task, no warning."""
    async with feeds() as (_, feed, log, chat):
        feed.watch("tea")
        stream = feed.endless()
        await stream.aclose()
        source = Source()
        chat.double(source.items())
        gc.collect()
        assert not log.ended
        assert not source.made


async def test_leaving_a_stream_closes_the_generator_of_the_caller() -> None:
    """The call that read its items has ended."""
    async with feeds() as (_, _feed, log, chat):
        source = Source()
        async for item in chat.double(source.items()):
            if item == 10:
                break
        await until(lambda: source.closed and log.ended == ["double"])


async def test_a_cancelled_call_ends_both_sides() -> None:
    """The implementation that reads items, and the generator that makes them."""
    async with feeds() as (_, feed, log, _):
        closed = asyncio.Event()

        async def slow() -> AsyncIterator[Price]:
            try:
                yield Price("tea", 1)
                await asyncio.Event().wait()
            finally:
                closed.set()

        task = asyncio.create_task(feed.total(slow()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed.is_set()
        assert log.ended == ["total"]


async def test_an_error_of_the_callers_generator_is_the_error_of_the_call() -> None:
    """As itself; the implementation is told that its items end."""
    async with feeds() as (_, feed, log, chat):

        async def broken() -> AsyncIterator[Price]:
            yield Price("tea", 1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await feed.total(broken())
        assert log.ended == ["total"]

        async def broken_numbers() -> AsyncIterator[int]:
            yield 1
            raise ZeroDivisionError

        got, error = await outcome(chat.double(broken_numbers()))
        assert got == [2]
        assert isinstance(error, ZeroDivisionError)


async def test_streams_end_when_the_mesh_stops() -> None:
    """Before its components do, and their readers are told why."""
    async with feeds() as (_, feed, log, _):
        stream = feed.stuck(1)
        assert await anext(stream) == 0
        waiting = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.01)
    with pytest.raises(LocalError, match=r"feed\.stuck: the stream has ended, because the mesh stops") as caught:
        await waiting
    assert caught.value.code is Code.UNAVAILABLE
    assert log.ended == ["stuck"]
    with pytest.raises(LocalError, match="the mesh has stopped"):
        await anext(feed.endless())


# --- Time -------------------------------------------------------------------------------------------------------------


async def test_a_slow_reader_slows_its_writer() -> None:
    """It is ahead by a bounded number of items, however long the reader takes."""
    async with feeds() as (_, feed, log, _):
        stream = feed.endless()
        for item in range(1, 200):
            assert await anext(stream) == item
            await asyncio.sleep(0)
            assert log.written <= item + 20
        await stream.aclose()


async def test_the_deadline_covers_the_whole_stream() -> None:
    """If a policy sets one; a slow reader does not stop it."""
    async with feeds() as (_, feed, log, _):
        begun = time.monotonic()

        async def read_slowly() -> None:
            async for _ in with_policy(feed, Policy(timeout=0.2)).endless():
                await asyncio.sleep(0.01)

        with pytest.raises(CommunicationError) as caught:
            await read_slowly()
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert 0.2 <= time.monotonic() - begun < 5.0
        assert log.ended == ["endless"]


async def test_a_stream_without_a_next_item_is_ended() -> None:
    """The items before it have come."""
    async with feeds() as (_, feed, log, _):
        got, error = await outcome(with_policy(feed, Policy(idle=0.5)).stuck(3))
        assert got == [0, 1, 2]
        assert isinstance(error, CommunicationError)
        assert error.code is Code.DEADLINE_EXCEEDED
        assert error.message == "feed.stuck: no item came for 0.5 s (policy: idle)"
        assert log.ended == ["stuck"]


async def test_a_slow_reader_is_not_an_idle_stream() -> None:
    """Only the writer's time counts."""
    async with feeds() as (_, feed, _, _):
        count = 0
        async for _ in with_policy(feed, Policy(idle=0.5)).watch("tea", 100):
            count += 1
            if count == 50:
                await asyncio.sleep(1.0)
        assert count == 100


async def test_a_cancelled_wait_for_an_item_ends_the_stream() -> None:
    """As that of an async generator, but not silently. Whoever refers to the cancelled task does not keep it alive."""
    async with feeds() as (_, feed, log, _):
        stream = feed.stuck(1)
        assert await anext(stream) == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await anext(stream)
        assert await until(lambda: log.ended == ["stuck"]) < 1.0
        with pytest.raises(LocalError, match=r"feed\.stuck: the stream has ended, because a wait") as caught:
            await anext(stream)
        assert caught.value.code is Code.CANCELED

        async def read() -> None:
            kept = feed.stuck(0)
            async for _ in kept:
                pass

        task = asyncio.create_task(read())
        await until(lambda: log.begun == ["stuck"] * 2)
        task.cancel()
        await asyncio.wait([task])
        assert await until(lambda: log.ended == ["stuck"] * 2) < 1.0


async def test_a_wait_for_one_item_may_be_given_up() -> None:
    """By a task that goes on waiting: the stream does, too."""
    async with feeds() as (_, _feed, _, chat):
        asked: asyncio.Queue[int] = asyncio.Queue()

        async def questions() -> AsyncIterator[int]:
            while True:
                yield await asked.get()

        stream = chat.double(questions())
        task = asyncio.ensure_future(anext(stream))
        done, _ = await asyncio.wait([task], timeout=0.02)
        assert not done
        asked.put_nowait(4)
        assert await task == 8


async def test_two_readers_of_one_stream_are_refused() -> None:
    """As those of one generator."""
    async with feeds() as (_, feed, _, _):
        stream = feed.stuck(0)
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="one task at a time"):
            await anext(stream)
        first.cancel()
        await asyncio.wait([first])


# --- Bad calls --------------------------------------------------------------------------------------------------------


async def test_what_is_no_stream_is_refused_at_once() -> None:
    """Before anything runs; the text names the parameter."""
    async with feeds() as (mesh, feed, log, chat):
        with pytest.raises(LocalError, match=r"'items' is a stream: it takes an AsyncIterator, .* got int"):
            chat.double(5)  # type: ignore[arg-type]
        with pytest.raises(LocalError, match=r"feed\.total: 'prices' is a stream"):
            await feed.total(None)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            feed.watch()  # type: ignore[call-arg]
        with pytest.raises(LocalError, match="nothing can be sent into the stream"):
            await feed.endless().asend(1)  # type: ignore[arg-type]
        assert not log.ended
        assert await mesh.get_service(Feed) is feed


# --- Interceptors -----------------------------------------------------------------------------------------------------


async def test_an_interceptor_of_calls_wraps_the_whole_life_of_a_stream() -> None:
    """Its `finally` runs when the stream ends; on both sides."""
    seen: list[str] = []

    def around(side: str) -> Any:
        async def interceptor(handler: Handler, call: Call) -> Any:
            seen.append(f"{side} begins {call.method.name}")
            try:
                return await handler(call)
            finally:
                seen.append(f"{side} ends {call.method.name}")

        return interceptor

    async with feeds(Interceptors(client=[around("client")], server=[around("server")])) as (_, feed, _, _):
        stream = feed.watch("tea", 2)
        assert seen == []
        await anext(stream)
        assert seen == ["client begins watch", "server begins watch"]
        assert [price.cents async for price in stream] == [1]
        assert seen[2:] == ["server ends watch", "client ends watch"]
        del seen[:]
        assert await feed.total(prices(1)) == 1
        assert seen == ["client begins total", "server begins total", "server ends total", "client ends total"]


async def test_an_interceptor_of_streams_sees_the_items() -> None:
    """Those that come, and those that go."""

    async def tenfold(handler: StreamHandler, call: Call, send: SendItem) -> Any:
        async def send_tenfold(item: Any) -> None:
            await send(10 * item if isinstance(item, int) else item)

        return await handler(call, send_tenfold)

    async def without_the_first(handler: StreamHandler, call: Call, send: SendItem) -> Any:
        at = call.method.stream_at
        assert at is not None
        source = call.arguments[at]

        async def rest() -> AsyncIterator[Any]:
            await anext(source)
            async for item in source:
                yield item

        arguments = (*call.arguments[:at], rest(), *call.arguments[at + 1 :])
        return await handler(Call(call.method, arguments, call.headers), send)

    interceptors = Interceptors(client_streams=[tenfold], server_streams=[without_the_first])
    async with feeds(interceptors) as (_, _feed, _, chat):
        source = Source()
        assert [item async for item in chat.double(source.items(4))] == [20, 40, 60]


async def test_an_interceptor_refuses_a_stream() -> None:
    """As any call: its caller gets the error at the first item."""

    async def refuse(handler: Handler, call: Call) -> Any:
        raise MeshError(Code.PERMISSION_DENIED, "no")

    async with feeds(Interceptors(server=[refuse])) as (_, feed, log, _):
        with pytest.raises(MeshError, match="no"):
            await anext(feed.watch("tea"))
        assert not log.ended


async def test_an_interceptor_that_does_not_know_streams_is_told_so() -> None:
    """It may neither begin one again nor return a value for it."""

    async def again(handler: Handler, call: Call) -> Any:
        await handler(call)
        return await handler(call)

    async def value(handler: Handler, call: Call) -> Any:
        return 5

    async with feeds(Interceptors(client=[again])) as (_, feed, _, _):
        got, error = await outcome(feed.watch("tea", 1))
        assert len(got) == 1
        assert "an interceptor began the stream again after its first item" in str(error)
    async with feeds(Interceptors(client=[value])) as (_, feed, _, _):
        with pytest.raises(LocalError, match=r"but the interceptor .*value returned a value for it"):
            await anext(feed.watch("tea"))


# --- Threads, and other loops -----------------------------------------------------------------------------------------


async def test_a_def_implementation_runs_in_one_thread() -> None:
    """Its generator begins, goes on and is closed in it: connections of databases are bound to a thread."""
    async with feeds() as (mesh, _, _, _):
        feed = await mesh.get_service(BlockingFeed)
        log = (await mesh.get(BlockingFeedImpl)).log
        watch = awaitable(feed.watch)
        assert [price.cents async for price in watch("tea", 50)] == list(range(50))
        assert len(log.threads) == 1
        assert log.threads != {threading.get_ident()}
        with pytest.raises(SoldOut):
            assert [price async for price in watch("tea", sold_out=True)]
        assert [item async for item in awaitable(feed.double)(iter(range(30)))] == [2 * item for item in range(30)]
        assert await awaitable(feed.total)(iter([Price("tea", 5), Price("tea", 6)]), start=1) == 12
        assert await awaitable(feed.first)(iter(range(10**6))) == 0


async def test_leaving_a_stream_closes_a_def_generator() -> None:
    """Also while its thread waits for a slow reader."""
    async with feeds() as (mesh, _, _, _):
        feed = await mesh.get_service(BlockingFeed)
        log = (await mesh.get(BlockingFeedImpl)).log
        async for item in awaitable(feed.endless)():
            if item == 3:
                break
        await until(lambda: log.ended == ["endless"])
        assert log.written < 40


def test_a_blocking_caller_reads_with_for() -> None:
    """Of interfaces in either form; leaving the loop ends the stream."""
    with BlockingMesh(FeedsModule, settings=Settings(registry="local:")) as mesh:
        feed, other = mesh.get_service(BlockingFeed), mesh.get_service(Feed)
        log = mesh.get(FeedImpl).log
        assert [price.cents for price in feed.watch("tea", 100)] == list(range(100))
        assert [price.cents for price in blocking(other.watch)("tea", 100)] == list(range(100))
        with pytest.raises(SoldOut):
            list(feed.watch("tea", sold_out=True))
        assert feed.total(iter([Price("tea", 5), Price("tea", 6)])) == 11
        assert blocking(other.total)(prices(1, 2)) == 3
        assert list(feed.double(iter(range(50)))) == [2 * item for item in range(50)]
        assert blocking(other.first)(iter(range(10**6))) == 0  # type: ignore[arg-type]
        for item in blocking(other.endless)():
            if item == 3:
                break
        deadline = time.monotonic() + 10
        while "endless" not in log.ended:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        stream = blocking(other.endless)()
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert log.ended.count("endless") == 2
        with pytest.raises(StopIteration):
            next(stream)
        left = feed.endless()
        next(left)
    with pytest.raises(LocalError, match="mesh"):
        list(left)


def test_an_error_of_a_blocking_callers_generator_is_the_error_of_the_call() -> None:
    """As itself."""

    def broken() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    settings = Settings(registry="local:")
    with BlockingMesh(FeedsModule, settings=settings) as mesh, pytest.raises(ZeroDivisionError):
        list(mesh.get_service(BlockingFeed).double(broken()))


async def test_a_blocking_stream_is_refused_on_a_running_loop() -> None:
    """It would block it."""
    async with feeds() as (mesh, _, _, _):
        feed = await mesh.get_service(BlockingFeed)
        with pytest.raises(LocalError, match="would block this thread's running event loop"):
            next(feed.watch("tea"))


async def test_a_caller_on_another_loop_reads_a_stream() -> None:
    """Its own generator runs on its own loop, and is closed there."""
    async with feeds() as (_, feed, log, chat):
        source = Source()

        async def there() -> None:
            assert [price.cents async for price in feed.watch("tea", 100)] == list(range(100))
            assert [item async for item in chat.double(Source().items(50))] == [2 * item for item in range(50)]
            assert await feed.total(prices(1, 2)) == 3
            async for item in chat.double(source.items()):
                if item == 10:
                    break
            await until(lambda: source.closed)
            with pytest.raises(SoldOut):
                assert [price async for price in feed.watch("tea", sold_out=True)]

        await asyncio.to_thread(asyncio.run, there())
        await until(lambda: log.ended.count("double") == 2)


def test_fakes_stream_in_the_other_form() -> None:
    """A fake is no proxy: its generator runs on a loop, or in a thread, of its own."""

    class Fake(FeedImpl): ...

    class BlockingFake(BlockingFeedImpl): ...

    fake, other = Fake(), BlockingFake()
    assert [price.cents for price in blocking(fake.watch)("tea", 5)] == list(range(5))
    for _ in blocking(fake.endless)():
        break
    assert fake.log.ended == ["watch", "endless"]

    async def read() -> list[int]:
        return [price.cents async for price in awaitable(other.watch)("tea", 5)]

    assert asyncio.run(read()) == list(range(5))
    assert awaitable(fake.watch) == fake.watch


# --- Calls in calls ---------------------------------------------------------------------------------------------------


async def test_an_implementation_knows_its_call() -> None:
    """As that of any other method."""
    async with feeds() as (_, feed, _, _):
        assert [item async for item in feed.peer()] == ["local", "feeds", "nobody"]
