"""What the workers of one server tell each other."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import msgspec

from meshcore.core.call import Call
from meshcore.core.description import Method
from meshcore.serve.monitoring.siblings import Siblings, new_folder, retire
from meshcore.serve.monitoring.tapped import tapped, with_siblings
from meshcore.telemetry.families import CLIENT_DURATION, PROCESSES
from meshcore.telemetry.recorder import Recorder
from meshcore.telemetry.snapshot import counts_of, snapshot, total
from meshcore.telemetry.tap.tap import TapLine, Wanted

METHOD = Method("shop", "order", (), None, is_async=True)


class Worker:
    """One worker, in this process."""

    def __init__(self, folder: Path, name: str) -> None:
        self.recorder = Recorder()
        self.recorder.gauges[PROCESSES.name] = lambda: 1
        self.about = TapLine(process=name)
        self.siblings = Siblings(
            folder,
            lambda: snapshot(self.recorder),
            lambda steps: (name if steps else name.upper()).encode(),
            self.calls,
        )

    def calls(self, wanted: Wanted) -> AsyncGenerator[bytes]:
        """Its own calls."""
        return tapped(self.recorder.watch, wanted, self.about, lambda: False)

    def show(self) -> None:
        """Let a call end."""
        calls = self.recorder.client("orders")[METHOD]
        if self.recorder.watch.on:
            self.recorder.watch.made(calls, Call(METHOD), 0.0, 0.1, None)

    def call(self, times: int) -> None:
        """Count calls."""
        for _ in range(times):
            self.recorder.client("orders")[METHOD].succeed(0.1, [])

    async def shown(self) -> tuple[int, int]:
        """How many calls and how many processes its metrics show."""
        found = total(await self.siblings.metrics())
        calls = sum(sum(counts_of(sample)) for sample in found.get(CLIENT_DURATION.name, []))
        return calls, int(found[PROCESSES.name][0].value)


def kill(worker: Worker) -> None:
    """Let it be as after a SIGKILL: nothing answers at its socket, which is still there."""
    assert worker.siblings._server is not None
    path = next(worker.siblings._folder.glob(f"{worker.siblings._id}.sock"))
    worker.siblings._server.close()
    path.touch()


async def test_whoever_is_asked_answers_for_all(tmp_path):
    """The sum is the same at each, and the summaries are those of all, one's own first."""
    async with AsyncExitStack() as stack:
        workers = [Worker(tmp_path, name) for name in ("a", "b", "c")]
        for each in workers:
            await stack.enter_async_context(each.siblings)
            each.call(3)
        assert [await each.shown() for each in workers] == [(9, 3)] * 3
        assert sorted(await workers[1].siblings.summaries()) == [b"a", b"b", b"c"]
        assert sorted(await workers[1].siblings.summaries(steps=0)) == [b"A", b"B", b"C"]
        assert (await workers[1].siblings.summaries())[0] == b"b"


async def test_a_path_that_is_too_long_for_a_socket_is_no_reason_not_to_serve(tmp_path, caplog):
    """The worker shows what it has counted itself, and the log says so."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    async with Worker(folder, "a").siblings:
        assert "cannot ask this one what it has counted" in caplog.text
    worker = Worker(folder, "b")
    async with worker.siblings:
        worker.call(3)
        assert await worker.shown() == (3, 1)


def test_the_folder_of_workers_is_short_enough_for_sockets(tmp_path, monkeypatch):
    """Also where temporary folders are long, as on macOS."""
    folder = tmp_path / ("x" * 60)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with new_folder() as made, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{made}/1234567-12345678.sock")


async def test_the_calls_of_all_are_shown_to_whoever_taps_one(tmp_path):
    """Also those of a worker that starts meanwhile; one that dies is missed by nobody. In the end none is tapped."""
    wanted = Wanted(component="orders")
    async with AsyncExitStack() as stack:
        first, second, third = workers = [Worker(tmp_path, name) for name in ("first", "second", "third")]
        await stack.enter_async_context(first.siblings)
        await stack.enter_async_context(second.siblings)

        async def until(*names: str) -> None:
            seen: set[str] = set()
            while not seen.issuperset(names):
                for each in workers:
                    each.show()
                for line in (await anext(lines)).splitlines():
                    told = msgspec.json.decode(line, type=TapLine)
                    seen |= {told.process} if told.call is not None else set()

        async with aclosing(with_siblings(first.calls(wanted), first.siblings, wanted)) as lines, asyncio.timeout(10):
            await until("first", "second")
            await stack.enter_async_context(third.siblings)
            kill(second)
            await until("first", "third")
        while any(each.recorder.watch.on for each in workers):
            await asyncio.sleep(0.05)


async def test_a_reader_is_left_when_the_process_stops(tmp_path):
    """Within half a second, and what it tapped is tapped no more; a reader that never reads taps nothing."""
    worker, stops = Worker(tmp_path, "one"), asyncio.Event()
    wanted = Wanted(component="orders")
    lines = tapped(worker.recorder.watch, wanted, worker.about, stops.is_set)
    await tapped(worker.recorder.watch, wanted, worker.about, stops.is_set).aclose()
    assert not worker.recorder.watch.on
    await anext(lines)
    assert worker.recorder.watch.on
    stops.set()
    assert [line async for line in lines] == []
    assert not worker.recorder.watch.on


async def test_a_dead_worker_counts_with_what_it_told_last(tmp_path):
    """Before and after its parent has added it up. What it counted since and told nobody is lost."""
    async with AsyncExitStack() as stack:
        living, dead = Worker(tmp_path, "living"), Worker(tmp_path, "dead")
        for each in (living, dead):
            await stack.enter_async_context(each.siblings)
        living.call(1)
        dead.call(10)
        assert await living.shown() == (11, 2)
        dead.call(100)
        kill(dead)
        assert await living.shown() == (11, 1)
        # Its own file is its parent's to add up: in this test both have this process's id.
        for path in tmp_path.glob(f"{dead.siblings._id}.*"):
            path.rename(path.with_name(path.name.replace(str(os.getpid()), "1")))
        retire(tmp_path, 1)
        assert not list(tmp_path.glob("1-*"))
        assert await living.shown() == (11, 1)
        retire(tmp_path, 1)
        assert await living.shown() == (11, 1)


async def test_a_worker_that_is_added_up_meanwhile_counts_once(tmp_path):
    """Its parent has written the sum, and has not yet removed the file."""
    async with AsyncExitStack() as stack:
        living, dead = Worker(tmp_path, "living"), Worker(tmp_path, "dead")
        for each in (living, dead):
            await stack.enter_async_context(each.siblings)
            each.call(10)
        assert await living.shown() == (20, 2)
        kill(dead)
        files = {path: path.read_bytes() for path in tmp_path.glob(f"{dead.siblings._id}.kept")}
        for path in files:
            renamed = path.with_name(path.name.replace(str(os.getpid()), "1"))
            path.rename(renamed)
        retire(tmp_path, 1)
        for path, data in files.items():
            path.with_name(path.name.replace(str(os.getpid()), "1")).write_bytes(data)
        assert await living.shown() == (20, 1)


async def test_a_worker_that_hangs_counts_with_what_it_told_last(tmp_path):
    """Whoever asks it waits for half a second, and not for ever."""
    async with AsyncExitStack() as stack:
        living, hanging = Worker(tmp_path, "living"), Worker(tmp_path, "hanging")
        for each in (living, hanging):
            await stack.enter_async_context(each.siblings)
            each.call(2)
        assert await living.shown() == (4, 2)
        hanging.call(5)
        kill(hanging)
        path = tmp_path / f"{hanging.siblings._id}.sock"
        path.unlink()
        open_ended = asyncio.Event()

        async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await open_ended.wait()
            writer.close()

        server = await asyncio.start_unix_server(nothing, path)
        try:
            async with asyncio.timeout(20):
                assert await living.shown() == (4, 1)
        finally:
            open_ended.set()
            server.close()


async def test_without_its_folder_a_worker_shows_its_own(tmp_path, caplog):
    """Somebody has cleaned up; the log says so."""
    folder = tmp_path / "workers"
    folder.mkdir()
    worker = Worker(folder, "a")
    async with worker.siblings:
        worker.call(1)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        assert await worker.shown() == (1, 1)
    assert "cannot be kept" in caplog.text
