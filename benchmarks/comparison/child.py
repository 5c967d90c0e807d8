"""The process of a peer: `FILE describe`, `FILE serve VARIANT PORT LOOP` or `FILE connect VARIANT PORT LOOP`.

It talks to the benchmark by lines of JSON, through the standard input and output that it was started with, and ends
when its input does. Standard library only.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from benchmarks.comparison.payload import Workload, item
from benchmarks.comparison.peer import Call, Peer
from benchmarks.comparison.requirements import packages
from benchmarks.comparison.turn import Turn, load_stream, load_threads, summary
from benchmarks.load import load

MARK = "\x1e"
"""Begins a line of JSON, as in RFC 7464, so that what a library prints when it is imported is not taken for one."""

WARNINGS = 5

FEW = 100
"""Items of the stream that the first call asks for."""


def run(peer: Peer) -> None:
    """Do what the command line says."""
    # What a library prints from here on is no answer.
    with os.fdopen(os.dup(1), "w", buffering=1) as output:
        os.dup2(2, 1)
        if sys.argv[1] == "describe":
            _say(output, describe(peer))
            return
        role, variant, port, loop = sys.argv[1:]
        work = _serve if role == "serve" else _connect
        try:
            with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
                runner.run(work(peer, variant, int(port), output))
        except Exception as error:
            _say(output, {"error": _reason(error)})
            raise


def describe(peer: Peer) -> dict[str, Any]:
    """Its name, its variants, and the versions of its packages."""
    file = Path(sys.argv[0])
    names = packages(file.read_text(encoding="utf-8"))
    return {"name": peer.name, "variants": list(peer.variants), "versions": {name: version(name) for name in names}}


def _loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "uvloop" and importlib.util.find_spec("uvloop"):
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
        return factory
    return None


async def _serve(peer: Peer, variant: str, port: int, output: TextIO) -> None:
    async with peer.serve(variant, port):
        _say(output, {})
        await asyncio.to_thread(sys.stdin.read)


class Logged(logging.Handler):
    """Keeps the first warnings that the libraries of a client log, each text once: the figures may depend on them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: dict[str, None] = {}
        self._told = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        if len(self._texts) < WARNINGS:
            self._texts[f"{record.name}: {record.getMessage()}"] = None

    def news(self) -> list[str]:
        """Those that were not told yet."""
        told, self._told = self._told, len(self._texts)
        return list(self._texts)[told:]


async def _connect(peer: Peer, variant: str, port: int, output: TextIO) -> None:
    logged = Logged()
    logging.getLogger().addHandler(logged)
    async with peer.connect(variant, port) as calls:
        failed: dict[str, str] = {}
        for workload, call in calls.items():
            try:
                await _check(workload, call)
            except Exception as error:  # noqa: BLE001 - the others are measured all the same
                failed[workload] = _reason(error)
        workloads = [each for each in calls if each not in failed]
        _say(output, {"workloads": workloads, "failed": failed, "logged": logged.news()})
        pools: dict[int, ThreadPoolExecutor] = {}
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            gc.collect()
            try:
                turn = await _turn(calls[Workload(asked["workload"])], pools, **asked)
            except Exception as error:  # noqa: BLE001 - it may do better under another load
                _say(output, {"error": _reason(error)})
            else:
                _say(output, {**asdict(turn), "logged": logged.news()})
        for pool in pools.values():
            pool.shutdown()


async def _check(workload: Workload, call: Call) -> None:
    """Call once."""
    arguments = (FEW,) if workload is Workload.STREAM else ()
    expected = (FEW, item(FEW - 1)) if workload is Workload.STREAM else call.expected
    found = await asyncio.to_thread(call.call, *arguments) if call.blocking else await call.call(*arguments)
    if found != expected:
        raise AssertionError(f"expected {expected!r:.200}, got {found!r:.200}")


async def _turn(
    call: Call, pools: dict[int, ThreadPoolExecutor], workload: str, callers: int, seconds: float, items: int
) -> Turn:
    if workload == Workload.STREAM:
        return await load_stream(call, items)
    if not call.blocking:
        return summary(await load(call.call, callers, seconds))
    # The same threads in each turn: clients may keep a connection for each.
    pool = pools.setdefault(callers, ThreadPoolExecutor(callers))
    return await asyncio.to_thread(load_threads, call.call, pool, callers, seconds)


def _reason(error: Exception) -> str:
    """The error; of several callers' errors, the first."""
    if isinstance(error, ExceptionGroup):
        return _reason(error.exceptions[0])
    return f"{type(error).__name__}: {error}"


def _say(output: TextIO, message: dict[str, Any]) -> None:
    output.write(f"{MARK}{json.dumps(message)}\n")
    output.flush()
