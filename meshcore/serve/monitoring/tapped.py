"""Tells a reader of the calls of this process, as lines of JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

import msgspec

from meshcore.asgi.page.tap import LONGEST
from meshcore.core.errors import LocalError
from meshcore.serve.monitoring.siblings import Siblings
from meshcore.telemetry.tap.tap import TapLine, Wanted
from meshcore.telemetry.tap.watch import CallWatch

_MOST_WAITING = 100
"""Pieces of workers that wait for a reader. Then they are not read, and each worker counts what is lost."""

_ALIVE = 0.5
"""Seconds after which a line comes in any case. So each side sees that the other one is there."""


def tapped(watch: CallWatch, wanted: Wanted, about: TapLine, ended: Callable[[], bool]) -> AsyncGenerator[bytes]:
    """The lines for one reader, from now on.

    Args:
        watch: shows the calls.
        wanted: by the reader.
        about: the process.
        ended: whether the process stops.

    Raises:
        LocalError: RESOURCE_EXHAUSTED, there are too many readers.
    """
    watch.check_room()
    return _lines(watch, wanted, about, ended)


async def _lines(watch: CallWatch, wanted: Wanted, about: TapLine, ended: Callable[[], bool]) -> AsyncGenerator[bytes]:
    ready = asyncio.Event()
    try:
        tap = watch.tap(wanted, ready.set)  # here, and not before: a generator that is never begun ends nothing
    except LocalError:  # another reader was faster
        return
    until = time.monotonic() + LONGEST
    try:
        yield _line(about)
        while not ended() and time.monotonic() < until:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ALIVE):
                    await ready.wait()
            ready.clear()
            found = tap.take()
            lines = [_line(TapLine(process=about.process, name=about.name, call=call)) for call in found.calls]
            lines.append(_line(TapLine(process=about.process, left_out=found.left_out, lost=found.lost)))
            yield b"".join(lines if found.left_out or found.lost or not found.calls else lines[:-1])
    finally:
        watch.untap(tap)


def _line(line: TapLine) -> bytes:
    return msgspec.json.encode(line) + b"\n"


async def _within(seconds: float, found: asyncio.Queue[bytes]) -> bytes | None:
    """What comes next, None if that takes longer. Not in a generator: it may be left in the middle of a timeout."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await found.get()
    return None


async def with_siblings(own: AsyncGenerator[bytes], siblings: Siblings, wanted: Wanted) -> AsyncGenerator[bytes]:
    """The lines of this process, and those of the other workers of its server, also of those that start meanwhile.

    Args:
        own: of this process. They end with those.
        siblings: the others.
        wanted: by the reader.
    """
    found: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)

    async def pump(lines: AsyncGenerator[bytes]) -> None:
        async with aclosing(lines):
            async for each in lines:
                await found.put(each)

    reading = {"": asyncio.create_task(pump(own))}
    until = time.monotonic()
    try:
        while not reading[""].done() or not found.empty():
            if time.monotonic() >= until:
                until = time.monotonic() + _ALIVE
                reading = {id_: task for id_, task in reading.items() if not id_ or not task.done()}
                for id_ in set(siblings.others()) - set(reading):
                    reading[id_] = asyncio.create_task(pump(siblings.calls_of(id_, wanted)))
            if (lines := await _within(_ALIVE, found)) is not None:
                yield lines
    finally:
        for task in reading.values():
            task.cancel()
        await asyncio.wait(reading.values())
