"""What becomes of calls when instances die, hang, are cut off or talk nonsense: real processes, real sockets."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.serve.chaos import Chaos, census, chaos, fill_executor, grown
from tests.support.faulty import Fault

pytestmark = pytest.mark.long

SICK = 0.15
"""The share of the calls that an instance may get while it is sick; a third would be its fair one."""

FAIR = 0.2
"""The share that it gets again, within chance, when it has recovered."""


@pytest.fixture(autouse=True)
async def nothing_stays(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """After each test memory objects, tasks, sockets and threads are where they were."""
    failures = request.session.testsfailed
    first = await asyncio.create_subprocess_exec("true")  # asyncio keeps its watcher of processes
    await first.wait()
    await fill_executor()
    before = await census()
    yield
    if request.session.testsfailed == failures:  # else pytest keeps the traceback, and all that it leads to
        assert not await grown(before)


async def test_a_killed_instance(tmp_path: Path) -> None:
    """SIGKILL of one instance fails no repeatable call, and the others take them all."""
    async with chaos(tmp_path) as scene:
        scene.sick.kill()
        await scene.avoided(SICK)


async def test_a_frozen_instance(tmp_path: Path) -> None:
    """SIGSTOP of one instance fails no repeatable call; after SIGCONT it gets its share again."""
    async with chaos(tmp_path) as scene:
        scene.sick.send_signal(signal.SIGSTOP)
        try:
            await scene.avoided(SICK)
        finally:
            scene.sick.send_signal(signal.SIGCONT)
        await scene.recovered(FAIR)


async def test_a_slow_instance(tmp_path: Path) -> None:
    """An instance that answers 300 ms late gets few calls, and its share again when it is as fast as the others."""
    async with chaos(tmp_path) as scene:
        scene.proxy.suffer(delay=0.3)
        await scene.avoided(SICK)
        scene.proxy.recover()
        await scene.recovered(FAIR)


async def suffer(scene: Chaos, *faults: Fault) -> None:
    """The first instance suffers from one fault after the other, then it is well and gets its share again."""
    for fault in faults:
        scene.proxy.suffer(fault)
        await scene.avoided(SICK)
    scene.proxy.recover()
    await scene.recovered(FAIR)


async def test_resets(tmp_path: Path) -> None:
    """Resets of connections, before, in and after a request and in an answer, fail no repeatable call."""
    faults = Fault.RESET_AT_ONCE, Fault.RESET_IN_REQUEST, Fault.RESET_AFTER_REQUEST, Fault.RESET_IN_ANSWER
    async with chaos(tmp_path) as scene:
        await suffer(scene, *faults)


async def test_resets_of_mutual_tls(tmp_path: Path) -> None:
    """The same where each connection begins with a handshake. TEST_CHAOS_SECURED=1 runs all scenarios so."""
    async with chaos(tmp_path, secured=True) as scene:
        await suffer(scene, Fault.RESET_AT_ONCE, Fault.RESET_AFTER_REQUEST)


async def test_closed_connections(tmp_path: Path) -> None:
    """Connections that are closed in good order, but at the wrong time, fail no repeatable call."""
    async with chaos(tmp_path) as scene:
        await suffer(scene, Fault.CLOSE_AT_ONCE, Fault.CLOSE_AFTER_REQUEST, Fault.CLOSE_IN_ANSWER)


async def test_half_open_connections(tmp_path: Path) -> None:
    """An instance that accepts calls and never answers, or never ends its answer, fails no repeatable call."""
    async with chaos(tmp_path) as scene:
        await suffer(scene, Fault.SILENT, Fault.DEAF, Fault.ENDLESS)


async def test_garbage(tmp_path: Path) -> None:
    """An instance that answers what is no answer of a mesh fails no repeatable call."""
    async with chaos(tmp_path) as scene:
        await suffer(scene, Fault.NOT_HTTP, Fault.NOT_OURS, Fault.TRUNCATED, Fault.EMPTY)


@pytest.mark.parametrize(
    ("fault", "other"),
    [
        (Fault.RESET_AFTER_REQUEST, Fault.NOT_OURS),
        (Fault.CLOSE_AT_ONCE, Fault.RESET_AT_ONCE),
        (Fault.SILENT, Fault.SILENT),
    ],
)
async def test_two_of_three(tmp_path: Path, fault: Fault, other: Fault) -> None:
    """With two of three instances sick the third answers all repeatable calls."""
    async with chaos(tmp_path) as scene:
        # Not both at once: a call that meets two instances which stop at that moment could be what stops them.
        scene.proxy.suffer(fault)
        await scene.avoided(SICK, sick=1)
        scene.proxies[1].suffer(other)
        await scene.avoided(SICK, sick=2)
