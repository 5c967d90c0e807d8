"""Looking at a mesh: how many servers are asked, and what becomes of those that hang."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from meshcore.client.connections.sessions import open_session
from meshcore.client.overview.look import Looker
from meshcore.core.instances import ChannelAddress, Instance
from meshcore.ports.installed import make_registry
from meshcore.telemetry.history import STEPS
from meshcore.telemetry.summary import About, Summary
from meshcore.wire.endpoints import SUMMARY


class Fleet:
    """Servers at paths of one address. Those whose number is in `hanging` never answer.

    Attributes:
        url: of all of them.
        asked: how often each was asked for its summary.
        steps: what was said of its history, oldest first.
        hanging: numbers of servers.
        status: of all answers.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: Counter[int] = Counter()
        self.steps: dict[int, list[str]] = {}
        self.hanging: set[int] = set()
        self.status = 200
        self.ended = asyncio.Event()
        self.answering: set[asyncio.Task[None] | None] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.answering.add(asyncio.current_task())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path, _, query = head.split(b" ", 2)[1].decode().partition("?")
                number = int(path.split("/")[1])
                body = b'{"components": []}'
                if path.endswith(SUMMARY):
                    self.asked[number] += 1
                    self.steps.setdefault(number, []).append(query.removeprefix("history="))
                    told = Summary(at=1.0, about=About(instance=str(number)))
                    body = msgspec.json.encode({"processes": [told]})
                if number in self.hanging:
                    await self.ended.wait()
                writer.write(b"HTTP/1.1 %d -\r\ncontent-length: %d\r\n\r\n%b" % (self.status, len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.answering.discard(asyncio.current_task())


@asynccontextmanager
async def looking(servers: int, *, history: bool = False) -> AsyncGenerator[tuple[Fleet, Looker, list[float]]]:
    """A fleet, who looks at it, and the clock of that: a list with one number."""
    fleet, clock = Fleet(), [0.0]
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(fleet.answer, "127.0.0.1", 0, backlog=1000)
        stack.callback(server.close)
        fleet.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        registry = await stack.enter_async_context(make_registry("local:"))
        for number in range(servers):
            address = ChannelAddress("dispatch-json", f"{fleet.url}/{number}")
            await stack.enter_async_context(registry.announce(Instance(f"shop-{number}", "shop", (address,))))
        session = await stack.enter_async_context(open_session(None, limit=0))
        yield fleet, Looker(registry, session, lambda: clock[0], history=history), clock
        fleet.ended.set()
    while fleet.answering:
        await asyncio.sleep(0.01)


async def test_servers_that_hang_are_waited_for_together_and_asked_less_often() -> None:
    """200 of them take no longer than one does; the others are shown meanwhile."""
    async with looking(1) as (fleet, looker, _):
        fleet.hanging = {0}
        begun = time.monotonic()
        await looker.look()
        one = time.monotonic() - begun
    async with looking(201) as (fleet, looker, clock):
        fleet.hanging = set(range(200))
        begun = time.monotonic()
        look = await looker.look()
        assert time.monotonic() - begun < 3 * one
        assert set(look.errors.values()) == {"no answer in time"}
        assert len(look.errors) == 200
        assert list(look.summaries) == [f"{fleet.url}/200"]

        fleet.asked.clear()
        clock[0] = 0.5
        look = await looker.look()
        assert fleet.asked == {200: 1}
        assert len(look.errors) == 200  # shown all the time
        fleet.hanging.clear()
        answered = 0
        for second in range(1, 12):
            clock[0] = float(second)
            answered = len((await looker.look()).summaries)
        assert answered == 201


async def test_a_look_at_many_servers_asks_some_of_them() -> None:
    """Each has its turn, and what it told is shown until then."""
    async with looking(100) as (fleet, looker, clock):
        assert len((await looker.look()).summaries) == 100
        assert set(fleet.asked.values()) == {1}
        asked = sum(fleet.asked.values())
        for second in range(1, 5):
            clock[0] = float(second)
            assert len((await looker.look()).summaries) == 100
            assert sum(fleet.asked.values()) - asked == 25
            asked = sum(fleet.asked.values())
        assert set(fleet.asked.values()) == {2}


async def test_the_last_minutes_are_read_once_and_of_some_servers_at_a_look() -> None:
    """They are most of what a server tells. Later only what is new is read."""
    async with looking(15, history=True) as (fleet, looker, clock):
        for second in range(4):
            clock[0] = float(second)
            await looker.look()
        assert all(steps.count(str(STEPS)) == 1 for steps in fleet.steps.values())
        assert sum(steps[0] == str(STEPS) for steps in fleet.steps.values()) == 10
        assert {each for steps in fleet.steps.values() for each in steps} <= {str(STEPS), "no", "1", "2"}


async def test_servers_that_do_not_tell_this_process_say_why() -> None:
    """A server that denies its summary is no server without calls: the look says what it wants."""
    for status, text in ((401, "it wants a proven identity"), (403, "does not allow that to this process"), (404, "")):
        async with looking(2) as (fleet, looker, _):
            fleet.status = status
            look = await looker.look()
            assert len(look.problems) == (2 if text else 0)
            assert all(
                text in each and f"/0{SUMMARY}: it answers {status}" in look.problems[0] for each in look.problems
            )
