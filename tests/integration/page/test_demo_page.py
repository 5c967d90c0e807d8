"""The live page of the demonstration."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.integration.serve.browsers.browser import browsing
from tests.support.demonstration import MAIN, show

pytestmark = [pytest.mark.one_python, pytest.mark.timeout(300)]


@pytest.mark.long
async def test_with_page_it_goes_on_and_obeys_the_page(tmp_path: Path) -> None:
    """Servers are killed and started from the page, until Ctrl-C."""
    async with show(tmp_path, *MAIN, "--page") as demo, aiohttp.ClientSession() as session:
        await demo.until("until Ctrl-C")
        (url,) = re.findall(r"the mesh is at (\S+),", demo.output)

        async def instances() -> dict[str, str]:
            async with session.get(f"{url}/state") as response:
                found = await response.json()
            return {each["id"]: each["state"] for one in found["components"] for each in one["instances"]}

        async def act(what: str, instance: str) -> tuple[int, str]:
            async with session.post(f"{url}/demo/{what}", json={"instance": instance}) as response:
                return response.status, await response.text()

        while len(before := await instances()) < 4:
            await asyncio.sleep(0.1)
        victim = next(each for each in before if each.startswith("warehouse-"))
        assert (await act("kill", victim))[0] == 200
        while (await instances()).get(victim) != "gone":
            await asyncio.sleep(0.1)
        assert (await act("start", victim))[0] == 200
        while not set(await instances()) - set(before):
            await asyncio.sleep(0.1)
        assert await act("kill", "orders-none") == (400, "orders-none is no server of this demonstration")
        demo.process.send_signal(signal.SIGINT)
        assert await demo.end() == 0
        assert "Traceback" not in demo.output
        demo.assert_nothing_is_left()


@pytest.mark.long
async def test_the_page_shows_which_callers_are_proven(tmp_path: Path) -> None:
    """With certificates a browser still sees all, every edge has its lock, and who has proven nothing sees nothing."""
    folder = tmp_path / "demo"
    folder.mkdir()
    async with (
        show(folder, *MAIN, "--page", "--identity", "dev") as demo,
        aiohttp.ClientSession() as session,
        browsing(tmp_path / "browser") as page,
    ):
        await demo.until("meshcore top")
        (url,) = re.findall(r"the mesh is at (\S+),", demo.output)
        await page.open(url)
        edges = "[...document.querySelectorAll('#graph .edge')]"
        locks = f"{edges}.filter(e => e.querySelector('.lock').getAttribute('display') === 'inline')"
        await page.wait_for(f"{locks}.length >= 3", 60)
        assert await page.evaluate(f"{locks}.length === {edges}.length")
        assert page.complaints == []
        for server in re.findall(r"at (https://\S+)", demo.output):
            for path in ("/report/summary", "/mesh/state"):
                async with session.get(f"{server}{path}", ssl=False) as response:
                    assert response.status in {401, 404}
        demo.process.send_signal(signal.SIGINT)
        assert await demo.end() == 0
        assert "Traceback" not in demo.output
        demo.assert_nothing_is_left()
