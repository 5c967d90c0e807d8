"""What one attempt makes of each fault of the network; `test_chaos.py` shows what a whole client makes of that."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meshcore import Code, CommunicationError, Mesh, MeshError
from meshcore.channels import stream_peer
from meshcore.testing.servers import refusing
from tests.support.faulty import Fault, faulty
from tests.support.processes import serve
from tests.support.till import Till
from tests.support.till_client import CHANNELS, STREAMED, calling

LOST = {
    Fault.RESET_AT_ONCE,
    Fault.RESET_IN_REQUEST,
    Fault.RESET_AFTER_REQUEST,
    Fault.RESET_IN_ANSWER,
    Fault.CLOSE_AT_ONCE,
    Fault.CLOSE_AFTER_REQUEST,
    Fault.CLOSE_IN_ANSWER,
    Fault.NOT_HTTP,
}
UNREADABLE = {Fault.NOT_OURS, Fault.TRUNCATED, Fault.EMPTY}
EXECUTED = {Fault.RESET_AFTER_REQUEST, Fault.RESET_IN_ANSWER, Fault.CLOSE_IN_ANSWER, Fault.NOT_HTTP, *UNREADABLE}


@asynccontextmanager
async def till(folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """The URL of a server, and where it notes what it sells."""
    journal = folder / "journal"
    env = {"TILL_JOURNAL": str(journal), "MESHCORE_VERIFY_ADVERTISE": "false"}
    async with serve(folder, "tests.support.till:TillModule", env=env) as server:
        yield server.url, journal


async def streaming(mesh: Mesh) -> None:
    """Return when calls take the stream again: after one that spoke nonsense they go over dispatch for a while."""
    service = await mesh.get_service(Till, STREAMED)
    async with asyncio.timeout(10):
        await service.look(0)
        while mesh.why(Till, "look", STREAMED).instances[0].remark:
            await service.look(0)
            await asyncio.sleep(0.02)


async def test_a_lost_connection_and_an_unreadable_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both may have been processed, so a call that must not be repeated fails, with its reason, and is sent once."""
    monkeypatch.setattr(stream_peer, "TRY_AGAIN", 0.05)
    number = 0
    async with till(tmp_path) as (url, journal), faulty(url) as proxy, calling(tmp_path, proxy.url) as mesh:
        for channel in CHANNELS:
            service = await mesh.get_service(Till, channel)
            for fault in LOST | UNREADABLE:
                proxy.suffer()
                number += 2
                if channel == STREAMED:
                    await streaming(mesh)
                await service.sell(number - 1)  # so that there is a connection
                proxy.suffer(fault)
                with pytest.raises(CommunicationError) as failed:
                    await service.sell(number)
                error = failed.value
                # A stream that was broken is over, and so are all its calls.
                unreadable = fault in UNREADABLE and (channel != STREAMED or fault is not Fault.NOT_OURS)
                expected = (Code.INTERNAL if unreadable else Code.UNAVAILABLE, True)
                assert (error.code, error.retryable) == expected, f"{channel}, {fault}: {error}"
                written = journal.read_text().split()
                assert written.count(str(number)) == (fault in EXECUTED), f"{channel}, {fault}"
                assert error.processed or fault not in EXECUTED, f"{channel}, {fault}"
                assert "till.sell" in str(error), error


async def test_an_answer_that_does_not_come(tmp_path: Path) -> None:
    """A call that gets no answer, or one without an end, ends at its deadline."""
    async with till(tmp_path) as (url, _), faulty(url) as proxy, calling(tmp_path, proxy.url, timeout=0.3) as mesh:
        for fault in (Fault.SILENT, Fault.DEAF, Fault.ENDLESS):
            proxy.suffer(fault)
            for channel in CHANNELS:
                service = await mesh.get_service(Till, channel)
                began = time.monotonic()
                with pytest.raises(CommunicationError) as failed:
                    await service.sell(1)
                assert failed.value.code is Code.DEADLINE_EXCEEDED, f"{channel}, {fault}"
                assert time.monotonic() - began < 5, f"{channel}, {fault}"
            proxy.recover()


async def test_another_application_at_the_address_of_an_old_instance(tmp_path: Path) -> None:
    """A dispatch channel takes 404 from somebody who is no mesh for an instance that is gone."""
    async with till(tmp_path) as (url, _), faulty(url) as proxy, calling(tmp_path, proxy.url) as mesh:
        proxy.suffer(Fault.SOMEBODY_ELSE)
        for channel in CHANNELS[:2]:
            service = await mesh.get_service(Till, channel)
            with pytest.raises(MeshError, match="answered with HTTP status 404, not as a meshcore server") as failed:
                await service.sell(1)
            error = failed.value
            assert (error.code, error.retryable, error.processed) == (Code.UNAVAILABLE, True, True)


@asynccontextmanager
async def full() -> AsyncIterator[str]:
    """A URL where connections are neither made nor refused: the queue of those that wait to be accepted is full."""
    waiting: list[socket.socket] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)  # noqa: FBT003 - positional only
            sock.connect_ex(listener.getsockname())
            waiting.append(sock)
        await asyncio.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for sock in waiting:
                sock.close()


async def test_a_connection_that_is_not_made_costs_no_call(tmp_path: Path) -> None:
    """Unknown hosts, refused connections and hosts that do not answer: each call goes elsewhere, writes as well."""
    number = 0
    async with till(tmp_path) as (url, journal), refusing() as refused, full() as hanging:
        for dead in ("http://no-such-host.invalid:8000", refused, hanging):
            for timeout in (3.0, 6.0):  # half of the first is less than a connection may take, of the second more
                async with calling(tmp_path, dead, url, timeout=timeout) as mesh:
                    services = [await mesh.get_service(Till, channel) for channel in CHANNELS]
                    calls = [service.sell(number := number + 1) for service in services * 3]
                    await asyncio.gather(*calls)
        assert sorted(map(int, journal.read_text().split())) == list(range(1, number + 1))
