"""`meshcore tap`, and the calls that a mesh remembers: with servers in the process of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshcore import CommunicationError, ConfigurationError, Mesh, Policy, Settings, client_module
from meshcore.cli.tap import Choice, follow
from meshcore.telemetry.tap.watch import MOST_TAPS
from tests.support.three import Line, Shop, ShopComponent, SoldOut
from tests.support.three_served import mesh

pytestmark = pytest.mark.one_python


@asynccontextmanager
async def called(folder: Path, **settings: Any) -> AsyncIterator[tuple[Settings, str, Mesh]]:
    """The mesh of three, whose shop is called again and again. Yields settings, the URL of the shop, and the client."""
    own = Settings(registry=f"directory:{folder}/registry", policies={"shop.order": Policy(remember=3)})
    async with (
        mesh(folder, page="read-only", **settings) as page,
        Mesh(client_module(ShopComponent), settings=own) as client,
    ):
        shop = await client.get_service(Shop)

        async def call() -> None:
            while True:
                with suppress(SoldOut):
                    await shop.order(Line("unicorn"))
                await shop.order(Line("tea"), note="!")
                await asyncio.sleep(0.01)

        calling = asyncio.create_task(call())
        try:
            yield own, page.removesuffix("/mesh"), client
        finally:
            calling.cancel()
            await asyncio.wait([calling])


async def tapped(
    capsys: pytest.CaptureFixture[str], settings: Settings, target: str, choice: Choice, number: int
) -> list[dict[str, Any]]:
    """The first lines that `meshcore tap --json` prints."""
    following = asyncio.create_task(follow(settings, target, choice, as_json=True))
    found: list[dict[str, Any]] = []
    try:
        while len(found) < number and not following.done():
            await asyncio.sleep(0.02)
            found += map(json.loads, capsys.readouterr().out.splitlines())
    finally:
        following.cancel()
        await asyncio.wait([following])
    return found


def calls_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls in such lines."""
    return [line["call"] for line in lines if "call" in line]


async def test_calls_are_shown_by_those_who_serve_and_make_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With their attempts, outcomes and callers; arguments only where the server consents."""
    async with called(tmp_path, show_arguments=True) as (settings, shop_url, client):
        lines = await tapped(capsys, settings, "stock", Choice(), 12)
        calls = calls_of(lines)
        assert {(each["side"], each["method"], each["caller"], each["outcome"]) for each in calls} == {
            (side, "stock/reserve", "shop", outcome) for side in ("made", "served") for outcome in ("ok", "SoldOut")
        }
        made = next(line for line in lines if line["call"]["side"] == "made")
        assert (made["url"], made["name"]) == (shop_url, "shop")
        (attempt,) = made["call"]["attempts"]
        assert attempt["instance"].startswith("stock-")
        assert 0 < attempt["seconds"] <= made["call"]["seconds"]
        assert all("arguments" not in each for each in calls)

        choice = Choice(failed=True, arguments=True)
        calls = calls_of(await tapped(capsys, settings, "stock.reserve", choice, 4))
        assert {each["outcome"] for each in calls} == {"SoldOut"}
        assert {each["arguments"]["line"] for each in calls} == {"Line(sku='unicorn', amount=1)"}

        lines = await tapped(capsys, settings, "shop.shop.order", Choice(max_rps=3), 4)
        assert len(calls_of(lines)) <= 2
        assert sum(line.get("left_out", 0) for line in lines) > 0

        remembered = client.last_calls()
        assert [(each.side, each.method, len(each.attempts)) for each in remembered] == [("made", "shop/order", 1)] * 3
        assert remembered == tuple(sorted(remembered, key=lambda each: each.at))


async def test_a_server_answers_a_bounded_number_of_readers_and_forgets_those_that_leave(tmp_path: Path) -> None:
    """One more is refused; when all have left, it records nothing. One that asks for nonsense is told so."""
    async with called(tmp_path) as (_, shop_url, _client), aiohttp.ClientSession() as session:
        url = f"{shop_url}/report/calls"
        for query, problem in (("", "component"), ("component=shop&max_rps=0", "max_rps"), ("component=shop&x=1", "x")):
            async with session.get(f"{url}?{query}") as response:
                assert response.status == 400
                assert problem in await response.text()
        async with session.head(f"{url}?component=shop") as response:
            assert response.status == 405

        readers = [await session.get(f"{url}?component=shop&arguments=1") for _ in range(MOST_TAPS)]
        assert [each.status for each in readers] == [200] * MOST_TAPS
        for each in readers:
            while b'"call"' not in (line := await each.content.readline()):
                pass
            assert "arguments" not in json.loads(line)["call"]
        async with session.get(f"{url}?component=shop") as response:
            assert (response.status, "8 readers" in await response.text()) == (429, True)
        for each in readers:
            each.close()
        status = 0
        while status != 200:
            async with session.get(f"{url}?component=shop") as response:
                status = response.status


async def test_what_cannot_be_tapped_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A component, a method, a number that there is not; a registry without servers."""
    async with called(tmp_path) as (settings, _, _client):
        for target, choice, problem in (
            ("stok", Choice(), "no such component is announced; did you mean 'stock'"),
            ("stock.reserv", Choice(), "stock has no method 'reserv'; did you mean 'reserve'"),
            ("hat", Choice(), "no such component is announced; there is 'prices', 'shop', 'stock'$"),
            ("stock", Choice(max_rps=0), ": --max-rps"),
        ):
            with pytest.raises(ConfigurationError, match=problem):
                await follow(settings, target, choice)
        following = asyncio.create_task(follow(settings, "shop", Choice()))
        while "shop/order by Client | ok in" not in capsys.readouterr().out:
            await asyncio.sleep(0.02)
        following.cancel()
        await asyncio.wait([following])
    with pytest.raises(CommunicationError, match="nothing is announced"):
        await follow(settings, "shop", Choice())
