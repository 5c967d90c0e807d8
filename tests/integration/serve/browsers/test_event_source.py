"""Streams over REST in a real browser: its `EventSource` reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.channels.test_event_ids import serving as serving_journal
from tests.integration.channels.test_streams import serving, until
from tests.integration.serve.browsers.browser import browsing

READ = """
window.got = []
const source = new EventSource(PATH)
source.onmessage = event => got.push(JSON.parse(event.data).cents)
source.addEventListener("end", event => { source.close(); got.push("end") })
source.addEventListener("error", event => {
  source.close()
  got.push(event.data ? JSON.parse(event.data).exception : "broken")
})
"""


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_browser_reads_a_stream(tmp_path: Path) -> None:
    """Its items, its end, and the error that it ends with. The server's generator ends when the page leaves."""
    async with serving() as (url, _, log), browsing(tmp_path) as page:
        await page.open(f"{url}/livez")
        await page.wait_for("location.pathname === '/livez' && document.readyState === 'complete'")
        for query, last in (("count=2", "end"), ("count=2&sold_out=true", "SoldOut")):
            await page.evaluate(f"{{{READ.replace('PATH', repr(f'/feed/watch/tea?{query}'))}}}")
            await page.wait_for("window.got.length === 3")
            assert await page.evaluate("window.got.join()") == f"0,1,{last}"
        await page.evaluate("window.source = new EventSource('/feed/stuck?after=1')")
        await page.wait_for("window.source.readyState === 1")
        assert log.ended == ["watch", "watch"]
        await page.evaluate("window.source.close()")
        await until(lambda: log.ended == ["watch", "watch", "stuck"])


FOLLOW = """
window.got = []
const source = new EventSource("/journal/flaky?after=1")
source.onmessage = event => got.push([event.lastEventId, event.data].join())
source.addEventListener("end", event => { source.close(); got.push("end") })
"""


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_browser_comes_back_by_itself(tmp_path: Path) -> None:
    """With the id of the last event, after the time that the server says: no item is lost, and none comes twice."""
    async with serving_journal() as (url, _, pages), browsing(tmp_path) as page:
        await page.open(f"{url}/livez")
        await page.wait_for("location.pathname === '/livez' && document.readyState === 'complete'")
        await page.evaluate(f"{{{FOLLOW}}}")
        await page.wait_for("window.got.includes('end')")
        assert await page.evaluate("window.got.join(' ')") == " ".join([*(f"{n},{n}" for n in range(2, 11)), "end"])
        assert pages.calls == [1, 4, 7]
