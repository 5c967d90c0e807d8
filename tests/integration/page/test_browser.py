"""The live page in a real browser."""

from __future__ import annotations

import itertools
import signal
import time
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette

from meshcore import MeshApp, Settings
from meshcore.asgi.page.routes import TriedCall, page_routes
from meshcore.serve.live_page.page import PageState
from meshcore.telemetry.overview.state import Edge, MethodCaller, Rate, ShownComponent, ShownInstance, ShownMethod
from meshcore.telemetry.summary import Ended
from meshcore.testing.servers import served
from tests.integration.serve.browsers.browser import Page, browsing
from tests.support.processes import serve
from tests.support.three_parts import PricesModule

pytestmark = [pytest.mark.one_python, pytest.mark.timeout(300)]

SECONDS = 60.0  # for what the page shows at once, on a machine that is busy
TEXT_OF = "document.querySelector({!r}).innerText"


async def until_text(page: Page, selector: str, text: str) -> None:
    """Return when an element has the text."""
    await page.wait_for(f"(e => e && e.innerText.includes({text!r}))(document.querySelector({selector!r}))", SECONDS)


async def test_the_page_shows_a_mesh_and_the_end_of_its_servers(tmp_path: Path) -> None:
    """Three components, a call that is tried, the death of a server, and that of the one that serves the page."""
    registry = f"directory://{tmp_path}/registry"

    def make(url: str) -> MeshApp:
        return MeshApp(PricesModule, settings=Settings(registry=registry, advertise_url=url, page="full"))

    parts, env = "tests.support.three_parts", {"MESHCORE_PAGE": "full"}
    async with (
        served(make) as prices,
        serve(tmp_path, f"{parts}:StockModule") as stock,
        serve(tmp_path, f"{parts}:ShopModule", env=env) as shop,
        browsing(tmp_path / "browser") as page,
    ):
        await page.open(f"{shop.url}/mesh")
        await until_text(page, "#status", "3 components, 3 instances")
        assert await page.evaluate("document.querySelectorAll('#graph .node').length") == 3

        # Without a mouse: a component of the picture is reached and chosen by keys.
        await page.evaluate("document.querySelector('#graph .node[aria-label^=shop]').focus()")
        await page.send("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r")
        await page.send("Input.dispatchKeyEvent", type="keyUp", key="Enter")
        await until_text(page, "#details-title", "shop")
        assert await nameless(page) == []

        # A call, tried from its form, makes edges.
        await page.evaluate("document.querySelector('#filter').focus()")
        await page.type("#filter", "")
        url = f"{shop.url}/mesh/call"
        call = {"component": "shop", "method": "shop/order", "arguments": {"line": {"sku": "tea"}}}
        await page.evaluate(
            f"fetch({url!r}, {{method: 'POST', headers: {{'content-type': 'application/json'}}, "
            f"body: {msgspec.json.encode(call).decode()!r}}}).then(r => r.text())"
        )
        await page.click("#methods tbody tr:last-child td button")
        await page.wait_for("document.querySelector('form textarea') !== null", SECONDS)
        await page.evaluate("document.querySelector('form').requestSubmit()")
        await until_text(page, "form pre", "meshcore call")
        await page.wait_for("[...document.querySelectorAll('#graph .edge')].length >= 3", SECONDS)

        # The filter leaves what has its text.
        await page.type("#filter", "prices")
        await page.wait_for("document.querySelectorAll('#instances tbody tr').length === 1", SECONDS)
        await page.evaluate("filter.value = ''; filter.dispatchEvent(new Event('input'))")
        assert page.complaints == []

        begun = time.monotonic()
        stock.send(signal.SIGKILL)
        await until_text(page, "#instances", "does not answer")
        assert time.monotonic() - begun < SECONDS
        assert page.complaints == []

        shop.send(signal.SIGKILL)
        await until_text(page, "#banner", f"({shop.url}")
        await until_text(page, "#banner", f"{prices}/mesh")
        assert await page.evaluate("document.querySelectorAll('#graph .node').length") >= 3  # what was known stays
        await page.click("#banner a")
        await until_text(page, "#status", f"seen by {prices}")


async def nameless(page: Page) -> list[Any]:
    """What a screen reader would find without a name, although it can be operated."""
    await page.send("Accessibility.enable")
    tree = await page.send("Accessibility.getFullAXTree")
    return [
        node
        for node in tree["nodes"]
        if not node.get("ignored")
        and node.get("role", {}).get("value") in {"button", "link", "textbox", "searchbox", "img", "image", "table"}
        and not node.get("name", {}).get("value")
        and node["role"]["value"] != "table"
    ]


class Many:
    """A source with many instances, whose numbers change each time."""

    read_only, demo = True, False

    def __init__(self) -> None:
        self.instances = 5
        self.names: tuple[str, ...] = ()
        self._asked = 0

    async def state(self) -> bytes:
        """Components with 20 instances each, which call each other."""
        self._asked += 1
        if self.names:
            return self._hostile()
        now = Rate(100.0 + self._asked, 0.999, 0.001, 0.002, 0.003 + self._asked / 1e4)
        names = [f"component-{number}" for number in range(max(1, self.instances // 20))]
        components = tuple(
            ShownComponent(name, now, tuple(self._instance(name, number, now) for number in range(self.instances)))
            for name in names
        )
        cut = tuple(
            msgspec.structs.replace(each, instances=each.instances[: self.instances // len(names)])
            for each in components
        )
        methods = tuple(
            ShownMethod(
                component=name, method=f"{name}/do-{number}", now=now, callers=(), errors=(), attempts=1, retries=0,
                hedges=0,
            )
            for name in names
            for number in range(10)
        )  # fmt: skip
        edges = tuple(Edge(caller, called, now) for caller, called in itertools.pairwise(names))
        found = PageState(
            at=time.time(), components=cut, edges=edges, methods=methods, served_by="a test", also_at=(),
            read_only=True, demo=False,
        )  # fmt: skip
        return msgspec.json.encode(found)

    def _hostile(self) -> bytes:
        """One component, method, instance and error of each name, called by two callers of that name."""
        now = Rate(10.0, 0.9, 0.001, 0.002, 0.003)
        instances = [self._instance(name, number, now) for number, name in enumerate(self.names)]
        found = PageState(
            at=time.time(),
            components=tuple(
                ShownComponent(each, now, (msgspec.structs.replace(one, version=each, zone=each, why=each, url=each),))
                for each, one in zip(self.names, instances, strict=True)
            ),
            callers=tuple(f"{each} (not proven)" for each in self.names),
            edges=tuple(
                edge
                for each in self.names
                for edge in (Edge(each, self.names[0], now, proven=True), Edge(f"{each} (not proven)", each, now))
            ),
            methods=tuple(
                ShownMethod(
                    component=each, method=each, now=now, callers=(MethodCaller(each, now, proven=True),),
                    errors=(Ended(each, each, 1, each),), attempts=1, retries=0, hedges=0,
                )
                for each in self.names
            ),
            served_by=self.names[0], also_at=(), problems=self.names, read_only=True, demo=False,
        )  # fmt: skip
        return msgspec.json.encode(found)

    def _instance(self, name: str, number: int, now: Rate) -> ShownInstance:
        states = ("admitted", "new", "draining", "ejected", "gone")
        return ShownInstance(
            id=f"{name}-{number}", component=name, url=f"http://{name}-{number}:80", channels=("stream-msgpack",),
            state=states[(number + self._asked) % len(states)], why="", health="ok", version="1", zone="a", weight=1,
            started=1, digest="x", active=number, now=now,
        )  # fmt: skip

    async def history(self) -> bytes:
        """None."""
        return b"[]"

    async def of_instance(self, instance: str, what: str) -> bytes:
        """Nothing."""
        raise NotImplementedError

    async def fields(self, component: str, method: str) -> bytes:
        """Nothing."""
        raise NotImplementedError

    async def call(self, tried: TriedCall) -> bytes:
        """Nothing."""
        raise NotImplementedError

    async def act(self, what: str, instance: str) -> bytes:
        """Nothing."""
        raise NotImplementedError


FRAMES = """
new Promise(done => {
  const times = []
  const next = now => { times.push(now); times.length < 180 ? requestAnimationFrame(next) : done(times) }
  requestAnimationFrame(next)
})
"""


@pytest.mark.alone
async def test_200_instances_stay_fluent(tmp_path: Path) -> None:
    """The picture changes each second, and most frames take no longer than those of a mesh of five."""
    source = Many()
    async with served(lambda _: Starlette(routes=page_routes(source))) as url, browsing(tmp_path) as page:
        frames: dict[int, float] = {}
        for instances in (5, 200):
            source.instances = instances
            await page.open(f"{url}/mesh")
            await page.wait_for(f"document.querySelectorAll('#instances tbody tr').length === {instances}", SECONDS)
            times = await page.evaluate(FRAMES)
            frames[instances] = median(b - a for a, b in itertools.pairwise(times))
        assert frames[200] <= 2 * frames[5], frames
        assert page.complaints == []
        await hostile_names_stay_texts(page, source, url)


HOSTILE = (
    "<img src=x onerror='window.hacked = 1'>",
    "</text></svg><script>window.hacked = 1</script>",
    '"><b onmouseover=alert(1)>',
    "x" * 1000,
    "\u202etxt.exe\u2066\u200f",
    "\x1b[31m\x00\x07\r\n",
    "constructor",
    "__proto__",
)


async def hostile_names_stay_texts(page: Page, source: Many, url: str) -> None:
    """Whatever callers, methods, versions and errors are called: nothing of it is run, and the layout holds."""
    source.names = HOSTILE
    await page.open(f"{url}/mesh")
    await page.wait_for(f"document.querySelectorAll('#methods tbody tr').length === {len(HOSTILE)}", SECONDS)
    for row in range(1, len(HOSTILE) + 1):
        for table in ("methods", "instances"):
            await page.evaluate(f"document.querySelector('#{table} tbody tr:nth-child({row}) td button').click()")
            assert await page.evaluate("document.querySelector('#details-title').textContent.length") > 0
    assert await page.evaluate("window.hacked ?? 0") == 0
    assert await page.evaluate("document.querySelectorAll('img, b, main script').length") == 0
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    shown = await page.evaluate("document.body.textContent")
    assert not any(each in shown for each in "\u202e\u2066\u200f\x1b\x00\x07")
    assert await page.evaluate("document.querySelectorAll('#graph .edge').length") == 2 * len(HOSTILE)
    proven = "[...document.querySelectorAll('#graph .edge .lock')].filter(e => getComputedStyle(e).display !== 'none')"
    assert await page.evaluate(f"{proven}.length") == len(HOSTILE)
    words = "proven by a certificate"
    assert await page.evaluate(f"{proven}.every(e => e.parentNode.getAttribute('aria-label').includes({words!r}))")
    assert words in await page.evaluate("document.querySelector('#legend').innerText")
    assert await nameless(page) == []
    assert page.complaints == []
