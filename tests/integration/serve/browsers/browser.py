"""A headless Chromium, spoken to over its own DevTools protocol: no driver stands in between."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # which root does not have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    # Whatever is asked for elsewhere than on this machine does not exist.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1200,2000",
    "--remote-debugging-port=0",
)
_LISTENING = re.compile(rb"DevTools listening on ws://([\d.]+:\d+)/")


def find_chromium() -> str:
    """Where the program is."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise AssertionError(
        "This test needs Chromium, and none is on the PATH. `.dev/test` installs it where it may (Debian or Ubuntu, as "
        "root or with sudo that does not ask): apt-get install --no-install-recommends chromium"
    )


class Page:
    """One page of the browser.

    Attributes:
        complaints: errors and warnings of the console, exceptions nobody caught, requests that failed.
        requested: the URLs that were asked for.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self._socket = socket
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0

    async def listen(self) -> None:
        """Take what the browser says, until it leaves."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            else:
                self._note(said["method"], said["params"])

    def _note(self, event: str, about: dict[str, Any]) -> None:
        match event:
            case "Runtime.exceptionThrown":
                self.complaints.append(f"exception: {about['exceptionDetails']}")
            case "Runtime.consoleAPICalled" if about["type"] in {"error", "warning", "assert"}:
                self.complaints.append(f"console: {about['args']}")
            case "Log.entryAdded" if about["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(f"log: {about['entry']}")
            case "Network.loadingFailed":
                self.complaints.append(f"failed: {about}")
            case "Network.requestWillBeSent":
                self.requested.append(about["request"]["url"])

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result."""
        self._last += 1
        answer = self._answers[self._last] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._last, "method": method, "params": parameters})
        said = await asyncio.wait_for(answer, 20)
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        said = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def wait_for(self, expression: str, seconds: float = 20.0) -> Any:
        """The value of an expression as soon as it is a true one."""
        try:
            async with asyncio.timeout(seconds):
                while not (value := await self.evaluate(expression)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.evaluate("document.body.innerText")
            raise AssertionError(f"{expression} was never true; {self.complaints}; the page says:\n{text}") from None
        return value

    async def click(self, selector: str) -> None:
        """Click on the first element that the selector finds, as soon as there is one."""
        await self.wait_for(f"(e => e && (e.click(), true))(document.querySelector({selector!r}))")

    async def type(self, selector: str, text: str) -> None:
        """Type into the first element that the selector finds, as soon as there is one."""
        await self.wait_for(
            f"(e => e && (e.focus(), document.activeElement === e))(document.querySelector({selector!r}))"
        )
        await self.send("Input.insertText", text=text)
        await self.wait_for(f"document.querySelector({selector!r}).value === {text!r}")
        await self.evaluate("document.activeElement.blur()")  # until then a page may wait for more

    async def open(self, url: str) -> None:
        """Load a page."""
        for domain in ("Runtime", "Log", "Network", "Page"):
            await self.send(f"{domain}.enable")
        await self.send("Page.navigate", url=url)


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Page]:
    """A browser with one empty page, until the end.

    Args:
        folder: for what it wants to remember.
    """
    # It leaves files behind, and the name of a socket among them must be short, as that of `tmp_path` is not.
    with TemporaryDirectory() as temporary:
        async with _running(folder, temporary) as page:
            yield page


@asynccontextmanager
async def _running(folder: Path, temporary: str) -> AsyncIterator[Page]:
    process = await asyncio.create_subprocess_exec(
        *(find_chromium(), *OPTIONS, f"--user-data-dir={folder}", "about:blank"),
        env={**os.environ, "TMPDIR": temporary},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            said = b""
            while not (found := _LISTENING.search(said)):
                line = await process.stderr.readline()
                assert line, f"the browser has gone: {said.decode(errors='replace')}"
                said += line
        rest = asyncio.create_task(process.stderr.read())  # else it would wait for somebody to read what it says
        async with aiohttp.ClientSession() as session:
            async with session.put(f"http://{found[1].decode()}/json/new?about:blank") as response:
                target = await response.json(content_type=None)
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                try:
                    yield page
                finally:
                    listening.cancel()
                    await asyncio.wait([listening])
        rest.cancel()
        await asyncio.wait([rest])
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
