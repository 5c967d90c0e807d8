"""Whatever an instance in the registry answers, the page goes on with the others, and asks nobody else for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from meshcore.cli import ls
from meshcore.client.overview.follow import Follower
from meshcore.core.instances import ChannelAddress, Instance
from meshcore.ports.installed import make_registry
from meshcore.telemetry.tap.tap import Wanted
from meshcore.wire.endpoints import CONTRACT, REPORT, SUMMARY, TAPPED
from tests.support.three_served import mesh, state

pytestmark = pytest.mark.one_python

ABOUT = '"about": {"instance": "x"}, "at": 1'
METHOD = '{"component": "c", "method": "m", "calls": 1, "failures": 0, "recent": {"seconds": 1}}'


async def drip(request: web.Request) -> web.StreamResponse:
    """One byte at a time, without end."""
    response = web.StreamResponse()
    await response.prepare(request)
    with suppress(ConnectionError):
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.2)
    return response


async def flood(request: web.Request) -> web.StreamResponse:
    """As many bytes as are taken."""
    response = web.StreamResponse()
    await response.prepare(request)
    with suppress(ConnectionError):
        while True:
            await response.write(b" " * (1 << 20))
    return response


def says(text: str) -> Callable[[web.Request], web.StreamResponse]:
    """An answer with this text."""
    return lambda _: web.Response(text=text, content_type="application/json")


@asynccontextmanager
async def listening(app: web.Application) -> AsyncGenerator[str]:
    """Serve it. Yields its URL."""
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name
    finally:
        await runner.cleanup()


def answering(make: Callable[[web.Request], object]) -> web.Application:
    """It answers so, whatever it is asked."""

    async def answer(request: web.Request) -> web.StreamResponse:
        made = make(request)
        if asyncio.iscoroutine(made):
            made = await made
        assert isinstance(made, web.StreamResponse)
        return made

    app = web.Application()
    for path in (SUMMARY, REPORT, CONTRACT, TAPPED, "/private"):
        app.router.add_get(path, answer)
    return app


async def test_hostile_answers_spoil_only_what_they_are_about(tmp_path: Path) -> None:
    """Too much, too slow, not of the type, numbers beyond all bounds: the page shows the rest, and says so."""
    asked: list[str] = []

    def private(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(text="secret")

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(mesh(tmp_path, page="full"))
        elsewhere = await stack.enter_async_context(listening(answering(private)))

        def redirect(_: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"location": f"{elsewhere}/private"})

        answers: dict[str, Callable[[web.Request], object]] = {
            "drip": drip,
            "flood": flood,
            "redirect": redirect,
            "nan": says('{"processes": [{"at": NaN}]}'),
            "huge": says(f'{{"processes": [{{{ABOUT}, "served": [{METHOD.replace("1,", "9" * 500 + ",", 1)}]}}]}}'),
            "many": says(f'{{"processes": [{{{ABOUT}, "served": [{",".join([METHOD] * 20_000)}]}}]}}'),
            "wrong": says("[1]"),
            "script": says(f'{{"processes": [{{{ABOUT[:-12]}, "page": "javascript:1"}}, "at": 1}}]}}'),
        }
        registry = await stack.enter_async_context(make_registry(f"directory:{tmp_path}/registry"))
        for name, answer in answers.items():
            planted = await stack.enter_async_context(listening(answering(answer)))
            address = ChannelAddress("dispatch-json", planted)
            await stack.enter_async_context(registry.announce(Instance(f"evil-{name}", "evil", (address,))))

        async with aiohttp.ClientSession() as session:
            begun, instances = time.monotonic(), {}
            while len(instances) < len(answers):
                found = await state(session, url)
                evil = [each for each in found["components"] if each["name"] == "evil"]
                instances = {each["id"]: each for one in evil for each in one["instances"]}
            assert time.monotonic() - begun < 15
            assert instances["evil-drip"]["state"] == "gone"
            said = " ".join(found["problems"])
            assert "More such problems: " in said
            reasons = ("is larger than", "Expected `int` <=", "length <= 10000", "got `array`", "malformed")
            assert sum(reason in said for reason in reasons) >= len(reasons) - 1
            assert {each["name"] for each in found["components"]} > {"shop", "stock", "prices"}
            assert not any("javascript" in each for each in found["also_at"])
            for name, reason in (("redirect", "it answers 302"), ("flood", "it is larger than")):
                for what in ("report", "contract"):
                    async with session.get(f"{url}/{what}", params={"instance": f"evil-{name}"}) as response:
                        assert response.status == 400
                        assert reason in await response.text()
            assert asked == []


async def test_who_follows_calls_or_asks_for_health_is_not_led_elsewhere() -> None:
    """Whoever can announce an instance could have the process ask whatever it can reach."""
    asked: list[str] = []

    def private(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(text="secret")

    async with listening(answering(private)) as elsewhere:
        leads = answering(lambda _: web.Response(status=302, headers={"location": f"{elsewhere}/private"}))
        async with listening(leads) as planted, aiohttp.ClientSession() as session:
            evil = Instance("evil-1", "evil", (ChannelAddress("dispatch-json", planted),))
            registry = make_registry(f"static:evil=dispatch-json({planted})")
            async with registry, Follower(registry, session, Wanted(component="evil")) as follower:
                found = await asyncio.wait_for(follower.next(), 10)
            assert "302" in found.problem
            assert (await ls._ask(session, evil)).health == "unknown"
    assert asked == []
