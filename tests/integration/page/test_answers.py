"""What the live page asks its server for."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshcore import ConfigurationError, Settings
from tests.support.three_served import mesh, state

pytestmark = pytest.mark.one_python


async def call(session: aiohttp.ClientSession, url: str, method: str, **arguments: Any) -> tuple[int, Any]:
    """Try a method of the shop. The status, and the answer or its text."""
    body = {"component": "shop", "method": method, "arguments": arguments}
    async with session.post(f"{url}/call", json=body) as response:
        is_json = response.content_type == "application/json"
        return response.status, await (response.json() if is_json else response.text())


def clients() -> int:
    """How many clients are kept for calls that are tried."""
    return sum(task.get_name() == "meshcore.trial" for task in asyncio.all_tasks())


async def test_the_page_answers_with_the_whole_mesh(tmp_path: Path) -> None:
    """One process tells of all: components, instances, edges, methods and their last minutes."""
    async with mesh(tmp_path, page="full") as url, aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            assert response.status == 200
            assert "default-src 'none'" in response.headers["content-security-policy"]
        for name in ("page.js", "page.css", "graph.js"):
            async with session.get(f"{url}/{name}") as response:
                assert response.status == 200
        for sku in ("unicorn", "tea"):
            assert (await call(session, url, "shop/order", line={"sku": sku}))[0] == 200

        found = await state(session, url)
        while sum(edge["caller"] == "shop" and edge["now"]["calls"] > 0 for edge in found["edges"]) < len(
            ("stock", "prices")
        ):
            found = await state(session, url)
        assert [each["name"] for each in found["components"]] == ["prices", "shop", "stock"]
        assert {(each["caller"], each["component"]) for each in found["edges"]} >= {
            ("shop", "prices"),
            ("shop", "stock"),
        }
        assert (found["read_only"], found["demo"], len(found["also_at"])) == (False, False, 2)
        reserved = next(each for each in found["methods"] if each["method"] == "stock/reserve")
        assert [(each["kind"], each["count"]) for each in reserved["errors"]] == [("SoldOut", 1)]
        (shop,) = next(each for each in found["components"] if each["name"] == "shop")["instances"]
        assert (shop["state"], shop["health"]) in {("new", "ok"), ("admitted", "ok")}

        async with session.get(f"{url}/report", params={"instance": shop["id"]}) as response:
            assert (await response.json())["ready"] is True
        async with session.get(f"{url}/contract?instance=shop-none") as response:
            assert response.status == 400
            assert "no instance 'shop-none'" in await response.text()

        async with session.get(f"{url}/history") as response:
            histories = await response.json()
        assert {each["method"] for each in histories} >= {"shop/order", "stock/reserve", "prices/price"}


async def test_calls_can_be_tried(tmp_path: Path) -> None:
    """The answer, its attempts and the line for a terminal; streams, errors, and wrong arguments by their names."""
    async with mesh(tmp_path, page="full") as url, aiohttp.ClientSession() as session:
        status, answer = await call(session, url, "shop/order", line={"sku": "tea", "amount": 2}, note="!")
        assert (status, answer["result"], answer["error"]) == (200, "2 tea for 6!", None)
        assert [each["outcome"] for each in answer["attempts"]] == ["ok"]
        assert answer["seconds"] > 0
        words = shlex.split(answer["line"])
        assert words[:3] == ["meshcore", "call", "shop.order"]
        given = dict(word.split("=", 1) for word in words[3:])
        assert {name: json.loads(value) for name, value in given.items()} == {
            "line": {"sku": "tea", "amount": 2},
            "note": "!",
        }

        status, answer = await call(session, url, "shop/order", line={"sku": "unicorn"})
        assert (status, answer["result"]) == (200, None)
        assert answer["error"]["message"].endswith("unicorn is sold out")

        status, answer = await call(session, url, "shop/watch", sku="tea")
        assert answer["result"] == list(range(3, 23))

        status, answer = await call(session, url, "shop/order", lines=[1], note=2)
        assert status == 400
        assert "no parameter 'lines'; did you mean 'line'?" in answer
        assert "line is missing" in answer
        assert "note: " in answer
        assert (await call(session, url, "shop/cancel"))[0] == 400

        async with session.get(f"{url}/parameters?component=shop&method=shop/order") as response:
            line, note = await response.json()
        assert (line["name"], line["type"], line["required"]) == ("line", "Line", True)
        assert '"sku": ""' in line["example"]
        assert (note["name"], note["required"], note["example"]) == ("note", False, '""')

        async with session.post(f"{url}/demo/kill", json={"instance": "shop-1"}) as response:
            assert response.status == 404
        with pytest.raises(ConfigurationError, match="off"):
            Settings(page="demo:/tmp/socket")

        # What a form of another site can send, and what a browser sends for one.
        async with session.post(f"{url}/call", data='{"component":"shop","method":"shop/order"}') as response:
            assert response.status == 400
        async with session.post(f"{url}/call", json={}, headers={"origin": "https://elsewhere.example"}) as response:
            assert response.status == 403
        async with session.post(f"{url}/call", json={}, headers={"host": "rebound.example"}) as response:
            assert response.status == 403
            assert "allowed_hosts" in await response.text()
        for path in ("", "/page.js", "/state", "/history", "/parameters?component=shop&method=shop/order"):
            async with session.get(f"{url}{path}", headers={"host": "rebound.example"}) as response:
                assert response.status == 403

        # The client of a call is kept for the next one, and ended with the server.
        kept = clients()
        assert 1 <= kept <= 4
        for _ in range(2):
            await call(session, url, "shop/order", line={"sku": "tea"})
        assert clients() == kept
    assert clients() == 0


async def test_a_page_that_is_read_only_calls_nothing(tmp_path: Path) -> None:
    """It shows all, and offers no call; without the setting there is no page."""
    async with mesh(tmp_path, page="read-only") as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/state") as response:
            assert (await response.json())["read_only"] is True
        assert (await call(session, url, "shop/order", line={"sku": "tea"}))[0] in {404, 405}
    async with mesh(tmp_path / "off") as url, aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 404
