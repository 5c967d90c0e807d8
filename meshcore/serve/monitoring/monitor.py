"""Reads what a process that serves has counted, for its endpoints."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from meshcore.core.settings import Settings
from meshcore.mesh.runtime import Runtime
from meshcore.serve.monitoring.siblings import Siblings
from meshcore.serve.monitoring.tapped import tapped, with_siblings
from meshcore.server.loop_lag import Lag
from meshcore.server.streaming.server import StreamingServer
from meshcore.telemetry import families as of
from meshcore.telemetry.exposition import OPENMETRICS, content_type, parts
from meshcore.telemetry.history import STEP, STEPS, History
from meshcore.telemetry.snapshot import snapshot, total
from meshcore.telemetry.summary import About, Summary, summary
from meshcore.telemetry.tap.tap import TapLine, Wanted
from meshcore.wire.endpoints import PAGE

_SHARE = 0.001
"""Seconds of the event loop that the text of the metrics takes at a time, so that calls do not wait for all of it."""


class Monitor:
    """The metrics and the summary of a process, with those of its siblings. Its history goes on while it is entered.

    Args:
        runtime: of the mesh.
        server: runs its calls.
        settings: with the URL that is advertised.
        ready: whether calls are welcome.
        folder: of the workers of a server, None if there is only this process.
    """

    def __init__(
        self,
        runtime: Runtime,
        server: StreamingServer,
        settings: Settings,
        ready: Callable[[], bool],
        folder: Path | None = None,
    ) -> None:
        self._runtime = runtime
        self._server = server
        self._settings = settings
        self._ready = ready
        self._recorder = runtime.recorder
        self._history = History(runtime.recorder, time.time())
        self._started = int(time.time())
        self._timer: asyncio.TimerHandle | None = None
        counted = lambda: snapshot(self._recorder)  # noqa: E731
        self._siblings = Siblings(folder, counted, self._encoded, self._calls) if folder is not None else None
        self._recorder.gauges |= {
            of.PROCESSES.name: lambda: 1,
            of.SERVER_PENDING.name: lambda: server.active,
            of.SERVER_STREAMS.name: lambda: server.open_streams,
            of.CONNECTIONS.name: lambda: len(server.drains),
        }
        if (limit := server.limit) is not None:
            self._recorder.gauges[of.LIMIT.name] = lambda: limit.limit

    async def __aenter__(self) -> Self:
        if self._siblings is not None:
            await self._siblings.__aenter__()
        self._plan()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._siblings is not None:
            await self._siblings.__aexit__(kind, error, traceback)

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(STEP - time.time() % STEP, self._step)

    def _step(self) -> None:
        self._history.tick(time.time())
        self._plan()

    def tick(self, lag: Lag) -> None:
        """Take a look at the event loop into account."""
        self._recorder.lag.observe(lag.blocked)
        self._server.tick(lag)

    async def metrics(self, accept: str) -> tuple[str, str]:
        """The content type and the text of the metrics, for a scraper that accepts these media types."""
        counted = snapshot(self._recorder) if self._siblings is None else total(await self._siblings.metrics())
        form = content_type(accept)
        pieces: list[str] = []
        until = time.monotonic() + _SHARE
        for piece in parts(counted, openmetrics=form == OPENMETRICS):
            pieces.append(piece)
            if time.monotonic() >= until:
                await asyncio.sleep(0)
                until = time.monotonic() + _SHARE
        return form, "".join(pieces)

    def tap(self, wanted: Wanted) -> AsyncGenerator[bytes]:
        """Show the calls of all workers to a reader, until it leaves or the server stops.

        Raises:
            LocalError: RESOURCE_EXHAUSTED, there are too many readers.
        """
        if self._siblings is None:
            return self._calls(wanted)
        wanted = msgspec.structs.replace(wanted, max_rps=ceil(wanted.max_rps / (1 + len(self._siblings.others()))))
        return with_siblings(self._calls(wanted), self._siblings, wanted)

    def _calls(self, wanted: Wanted) -> AsyncGenerator[bytes]:
        about = TapLine(process=self._runtime.identity, name=self._recorder.watch.caller)
        return tapped(self._recorder.watch, wanted, about, lambda: self._server.draining)

    async def summaries(self, *, steps: int = STEPS) -> bytes:
        """The summaries of all workers as JSON: a list under `processes`.

        Args:
            steps: how many of the last steps of the history are told.
        """
        found = [self._encoded(steps)] if self._siblings is None else await self._siblings.summaries(steps=steps)
        return b'{"processes":[' + b",".join(found) + b"]}"

    def _encoded(self, steps: int) -> bytes:
        return msgspec.json.encode(self.summary(steps=steps))

    def summary(self, *, steps: int = STEPS) -> Summary:
        """What this process knows."""
        server, settings, runtime = self._server, self._settings, self._runtime
        about = About(
            instance=runtime.identity,
            name=runtime.blueprint.caller,
            pid=os.getpid(),
            components=tuple(hosted.component.name for hosted in runtime.catalog.hosted),
            url=settings.advertise_url,
            version=settings.version,
            zone=settings.zone,
            weight=settings.weight,
            started=self._started,
            ready=self._ready(),
            draining=server.draining,
            active=server.active,
            streams=server.open_streams,
            connections=len(server.drains),
            page="" if settings.page == "off" else PAGE,
        )
        return summary(self._recorder, self._history, about, time.time(), steps=steps)
