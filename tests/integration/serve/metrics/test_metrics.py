"""The metrics of a server with several workers, as Prometheus reads them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from meshcore import Mesh, load_settings
from meshcore.examples.orders import Draft, Item, OrderNotFound, OrdersClient, OrderService
from tests.support.processes import ROOT, ServerProcess, free_port

pytestmark = pytest.mark.one_python

DASHBOARD = ROOT / "examples/grafana/meshcore.json"
_PLACES = ("/usr/bin", "/usr/local/bin")


def program(name: str) -> str:
    """Where one of Prometheus's programs is."""
    found = shutil.which(name, path=os.pathsep.join((os.environ["PATH"], *_PLACES)))
    assert found, (
        f"This test needs {name}. `.dev/test` installs it where it may (Debian or Ubuntu, as root or with sudo that "
        "does not ask): apt-get install --no-install-recommends prometheus"
    )
    return found


@asynccontextmanager
async def started(folder: Path, *words: str, port: int, ready: str, **env: str) -> AsyncIterator[ServerProcess]:
    """A process that answers at a path; it and its children are gone in the end."""
    log = folder / f"{port}.log"
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *words, cwd=folder, env={**os.environ, **env}, stdout=output, stderr=output, start_new_session=True
        )
    server = ServerProcess(process, f"http://127.0.0.1:{port}", log)
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while not await answers(session, f"{server.url}{ready}"):
                assert process.returncode is None, server.output()
                await asyncio.sleep(0.05)
        yield server
    finally:
        try:
            await server.stop()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether something answers that all is well."""
    try:
        async with session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def shop(folder: Path, port: int, module: str, workers: int) -> Any:
    """One of the demo's two halves."""
    return started(
        folder,
        *(sys.executable, "-m", "meshcore.cli", "run", f"meshcore.examples.orders:{module}"),
        *("--workers", str(workers), "--bind", f"127.0.0.1:{port}"),
        port=port,
        ready="/readyz",
        PYTHONPATH=str(ROOT),
        MESHCORE_REGISTRY=f"directory://{folder}/registry",
        MESHCORE_ADAPTIVE_LIMIT="false",
        ORDERS_DATABASE=f"{folder}/orders.sqlite",
    )


def prometheus(folder: Path, port: int, target: int) -> Any:
    """A Prometheus that scrapes the server every quarter of a second."""
    config = {
        "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"},
        "scrape_configs": [{"job_name": "mesh", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # which is YAML, too
    return started(
        folder,
        *(program("prometheus"), "--config.file=prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
        port=port,
        ready="/-/ready",
    )


async def scrape(session: aiohttp.ClientSession, url: str, accept: str = "") -> str:
    """The metrics as text."""
    async with session.get(f"{url}/metrics", headers={"accept": accept}) as response:
        assert response.status == 200
        assert response.content_type == (accept or "text/plain")
        return await response.text()


def counters(text: str) -> dict[str, float]:
    """All that never falls."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines if re.match(r"\w+_(total|count|sum|bucket)\b", name)}


def calls(text: str, method: str) -> float:
    """How many calls of a method a server counted."""
    pattern = rf'rpc_server_call_duration_seconds_count{{.*rpc_method="{re.escape(method)}"'
    return sum(value for name, value in counters(text).items() if re.match(pattern, name))


async def callers(session: aiohttp.ClientSession, url: str, method: str) -> set[str]:
    """Who called a method, as the summaries of the workers say."""
    async with session.get(f"{url}/report/summary") as response:
        processes = (await response.json())["processes"]
    served = [each for process in processes for each in process["served"] if each["method"] == method]
    return {caller["name"] for each in served for caller in each["callers"]}


async def workers(session: aiohttp.ClientSession, url: str) -> list[int]:
    """The ids of the processes that serve."""
    async with session.get(f"{url}/report/summary") as response:
        return [each["about"]["pid"] for each in (await response.json())["processes"]]


async def until_workers(session: aiohttp.ClientSession, url: str, without: int = 0) -> list[int]:
    """The ids of the two workers, when both are there."""
    async with asyncio.timeout(30):
        while len(found := await workers(session, url)) != 2 or without in found:
            await asyncio.sleep(0.05)
    return found


async def promtool(text: str) -> str:
    """What Prometheus's own linter complains of."""
    process = await asyncio.create_subprocess_exec(
        *(program("promtool"), "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(text.encode())
    return output.decode()


async def ask(session: aiohttp.ClientSession, url: str, query: str) -> list[dict[str, Any]]:
    """The answer to a PromQL query."""
    async with session.get(f"{url}/api/v1/query", params={"query": query}) as response:
        found = await response.json()
    assert found["status"] == "success", (query, found)
    return found["data"]["result"]


async def answer(session: aiohttp.ClientSession, url: str, query: str) -> list[dict[str, Any]]:
    """The answer when there is one with numbers."""
    async with asyncio.timeout(20):
        while True:
            found = [each for each in await ask(session, url, query) if each["value"][1] != "NaN"]
            if found:
                return found
            await asyncio.sleep(0.1)


def by_method(found: list[dict[str, Any]]) -> dict[str, float]:
    """An answer's numbers."""
    return {each["metric"]["rpc_method"]: float(each["value"][1]) for each in found}


def queries() -> list[str]:
    """Those of the dashboard, as Grafana sends them."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    texts = [target["expr"] for panel in panels for target in panel["targets"]]
    return [text.replace("$__rate_interval", "5s").replace("$component", ".*") for text in texts]


async def test_a_mesh_under_prometheus(tmp_path: Path) -> None:
    """Two workers count as one server, a SIGKILL takes nothing away, and Prometheus tells success and latency."""
    port, other, own = free_port(), free_port(), free_port()
    given = {"registry": f"directory://{tmp_path}/registry", "preferred_channel": "stream-msgpack"}
    settings = load_settings(given, environ={}, directory=tmp_path)
    async with (
        shop(tmp_path, other, "WarehouseModule", 1),
        shop(tmp_path, port, "CounterModule", 2) as server,
        prometheus(tmp_path, own, port) as scraper,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
        Mesh(OrdersClient, settings=settings) as mesh,
    ):
        pids = await until_workers(session, server.url)
        await mesh.wait_for(OrderService)
        orders = await mesh.get_service(OrderService)

        async def call(times: int) -> None:
            for _ in range(times):
                await asyncio.sleep(0.01)
                await orders.place(uuid4(), Draft("me", (Item("lamp"),)))
                with pytest.raises(OrderNotFound):
                    await orders.find(uuid4())

        await call(20)
        before = await scrape(session, server.url)
        assert calls(before, "orders/find") == 20
        assert calls(before, "orders/place") >= 20
        assert 'rpc_response_status_code="not_found"' in before
        assert "meshcore_server_processes 2\n" in before
        assert await promtool(before) == ""
        openmetrics = await scrape(session, server.url, "application/openmetrics-text")
        assert openmetrics.endswith("# EOF\n")

        assert await callers(session, server.url, "orders/find") == {"OrdersClient"}

        os.kill(pids[0], signal.SIGKILL)
        seen = counters(before)
        async with asyncio.timeout(30):
            while True:  # while it is dead, while its file is added up, and when another one is there
                text = await scrape(session, server.url)
                now = counters(text)
                assert not {name: (value, now.get(name)) for name, value in seen.items() if now.get(name, -1) < value}
                seen = now
                if "meshcore_server_processes 2\n" in text:
                    break
        assert pids[0] not in await until_workers(session, server.url)
        assert calls(text, "orders/find") == 20

        going = asyncio.create_task(call(10_000))
        rate = "sum by (rpc_method) (rate(rpc_server_call_duration_seconds_count{%s}[5s]))"
        success = "{} / {}".format(rate % 'error_type=""', rate % "")
        rates = by_method(await answer(session, scraper.url, success))
        assert rates["orders/place"] == rates["orders/find"] == 1.0
        p99 = "histogram_quantile(0.99, sum by (le, rpc_method) (rate(rpc_server_call_duration_seconds_bucket[5s])))"
        assert 0 < by_method(await answer(session, scraper.url, p99))["orders/place"] < 10
        for query in queries():
            assert await answer(session, scraper.url, query), query
        going.cancel()
        await asyncio.wait([going])
