"""Tells a reader of the calls of this process, as lines of JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

import msgspec

from meshcore.asgi.page.tap import LONGEST
from meshcore.telemetry.tap.tap import Tap, TapLine, Wanted
from meshcore.telemetry.tap.watch import CallWatch

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
    ready = asyncio.Event()
    return _lines(watch, watch.tap(wanted, ready.set), ready, about, ended)


async def _lines(
    watch: CallWatch, tap: Tap, ready: asyncio.Event, about: TapLine, ended: Callable[[], bool]
) -> AsyncGenerator[bytes]:
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
