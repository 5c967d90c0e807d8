"""What the live page costs the server that shows it: while nobody looks, and while somebody does."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import lru_cache
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from benchmarks.calls.sections import Plan
from benchmarks.processes import Process, free_port, hypercorn, running
from benchmarks.report import Goal, Report, Row
from meshcore.telemetry.histogram import BUCKETS
from meshcore.telemetry.history import STEP, STEPS, Step, Window
from meshcore.telemetry.summary import About, Caller, MethodSummary, Summary
from meshcore.wire.endpoints import LIVEZ, PAGE, REPORT, SUMMARY

_PATIENCE = 4.0
"""Seconds that a viewer waits for an answer, as the page does."""

_WARM_UP = 25.0
"""Seconds until all servers have told of themselves, and of their last minutes."""

_SERVER = "name-of-the-server"

_FROM = 10
"""The first bucket of the latencies of these servers: their calls take 3 to 100 ms."""

_QUIET = 3.0
"""Seconds until a server has started, or has answered the last viewer."""

SHARES = ((3, 5, 1, 1.0), (200, 20, 1, None), (200, 20, 50, None))
"""Servers, their methods, viewers, and percent of a core at most; None where there is no goal."""


async def page_section(plan: Plan, report: Report) -> None:
    """CPU time of the server that shows the page, for meshes of two sizes."""
    seconds = min(60.0, max(10.0, plan.rounds * plan.seconds * 4))
    for servers, methods, viewers, most in SHARES:
        port = free_port()
        fleet = (sys.executable, "-m", "benchmarks.page", str(port), str(methods))
        instances = ",".join(f"dispatch-json(http://127.1.0.{number + 1}:{port})" for number in range(servers))
        env = {
            "MESHCORE_MODULE": "benchmarks.served:ServedModule",
            "MESHCORE_REGISTRY": f"static:fleet={instances}",
            "MESHCORE_PAGE": "read-only",
        }
        with (
            running(fleet, {}, f"http://127.0.0.1:{port}", REPORT),
            hypercorn("meshcore.app:app", plan.loop, env, free_port(), LIVEZ) as server,
        ):
            await asyncio.sleep(_QUIET)
            unseen = await _share(server, seconds)
            late: list[float] = []
            looking = [asyncio.create_task(_look(server.url, late)) for _ in range(viewers)]
            await asyncio.sleep(_WARM_UP)
            seen = await _share(server, seconds)
            for task in looking:
                task.cancel()
            ended = await asyncio.gather(*looking, return_exceptions=True)
            await asyncio.sleep(_QUIET)
            after = await _share(server, seconds)
        if problems := [each for each in ended if not isinstance(each, asyncio.CancelledError)]:
            raise RuntimeError(f"a viewer has ended: {problems[0]!r}")
        report.notes.append(
            f"page: {len(late)} answers to {viewers} viewers of {servers} servers took over {_PATIENCE} s"
        )
        name = f"{servers} servers of {methods} methods, {viewers} viewers"
        report.rows += [
            Row("page", f"{name}: CPU time per second before", unseen * 1e6),
            Row("page", f"{name}: CPU time per second meanwhile", seen * 1e6),
            Row("page", f"{name}: CPU time per second afterwards", after * 1e6),
        ]
        if most is not None:
            share = 100 * (seen - min(unseen, after))
            report.goals.append(Goal(f"% of a core: showing a mesh of {name}", most, share))


async def _share(server: Process, seconds: float) -> float:
    """The CPU time of a server per second."""
    cpu, begun = server.cpu(), time.monotonic()
    await asyncio.sleep(seconds)
    return (server.cpu() - cpu) / (time.monotonic() - begun)


async def _look(url: str, late: list[float]) -> None:
    """Ask as the script of the page does."""
    timeout = aiohttp.ClientTimeout(total=_PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def ask(what: str) -> None:
            async with session.get(f"{url}{PAGE}/{what}") as response:
                response.raise_for_status()
                await response.read()

        async def ask_in_time(what: str) -> None:
            try:
                await ask(what)
            except TimeoutError:
                late.append(time.monotonic())

        second = 0
        while True:
            begun = time.monotonic()
            await ask_in_time("state")
            if second % STEP == 0:
                await ask_in_time("history")
            second += 1
            await asyncio.sleep(max(0.1, 1.0 - (time.monotonic() - begun)))


@lru_cache(maxsize=4)  # so that this process leaves the machine to the server
def _summary(now: int, methods: int, steps: int) -> bytes:
    """What a busy server tells. Its numbers grow."""
    calls = now * 100 % 10**9
    counts = tuple(calls // 10 if bucket >= _FROM else 0 for bucket in range(_FROM + 10))
    callers = tuple(Caller(f"caller-{number}", calls, calls // 1000, counts) for number in range(3))
    at = now // STEP
    history = tuple(Step((at - back) * STEP, 1000, 1, 0.001, 0.002, 0.003) for back in range(steps, 0, -1))
    window = Window(15.0, 1500, 1, (*(150 if count else 0 for count in counts), *((0,) * (BUCKETS - len(counts)))))
    served = tuple(
        MethodSummary(
            component="fleet", method=f"fleet/do-{number}", calls=3 * calls, failures=calls // 300, recent=window,
            history=history, callers=callers,
        )
        for number in range(methods)
    )  # fmt: skip
    return msgspec.json.encode({"processes": [Summary(at=now, about=About(instance=_SERVER), served=served)]})


def _fleet(port: int, methods: int) -> None:
    """Stand for all servers of a mesh, each at an address of its own. Linux has all that begin with 127."""

    async def summary(request: web.Request) -> web.Response:
        asked = request.query.get("history", "")
        steps = 0 if asked == "no" else min(int(asked or STEPS), STEPS)
        data = _summary(int(time.time()), methods, steps).replace(_SERVER.encode(), request.host.encode())
        return web.Response(body=data, content_type="application/json")

    async def health(request: web.Request) -> web.Response:  # noqa: ARG001
        report: dict[str, Any] = {"components": [{"name": "fleet", "health": {"status": "ok"}}]}
        return web.json_response(report)

    app = web.Application()
    app.router.add_get(SUMMARY, summary)
    app.router.add_get(REPORT, health)
    web.run_app(app, host="0.0.0.0", port=port, print=None)


if __name__ == "__main__":
    _fleet(int(sys.argv[1]), int(sys.argv[2]))
