"""What mutual TLS costs: calls on warm connections next to clear text, and the handshake of a new one."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from statistics import median

from yarl import URL

from benchmarks.calls.wire import Plan, by_mesh, measure
from benchmarks.load import Figures, ratio
from benchmarks.processes import Process
from benchmarks.report import Goal, Report, row
from meshcore.ports.installed import make_identity_source
from meshcore.security.certificates import Certificates
from meshcore.security.tls.client_tls import ClientTLS

SHARES = {"stream-msgpack": 0.9, "dispatch-msgpack": 0.85}
"""Of the calls per second in clear text, at least."""

MANY = 64
_HANDSHAKES = 100
_CLEAR, _SECURED = "clear text", "mutual TLS"


async def tls_section(plan: Plan, report: Report) -> None:
    """Both servers run at the same time, and have their turns one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        identity = f"dev:{folder}/identity"
        async with AsyncExitStack() as stack:
            candidates = {}
            for name, source in ((_CLEAR, ""), (_SECURED, identity)):
                made = await stack.enter_async_context(
                    by_mesh(plan, report.notes, tuple(SHARES), {"adaptive_limit": "false"}, identity=source)
                )
                candidates |= {f"{channel}, {name}": each for channel, each in made.items()}
            for channel, least in SHARES.items():
                names = [f"{channel}, {name}" for name in (_CLEAR, _SECURED)]
                pair = {name: candidates[name] for name in names}  # with others between, connections would be idle
                one, many = await measure(pair, 1, plan), await measure(pair, MANY, plan)
                rows = [row("mutual TLS", name, one[name], many[name]) for name in names]
                for each, figures in ((1, one), (MANY, many)):
                    clear, secured = (figures[name] for name in names)
                    share, cpu = shares(clear, secured)
                    callers = f"{each} caller{'s' if each > 1 else ''}"
                    text = f"of the calls/s of clear text over {channel}, {callers}"
                    report.goals.append(Goal(text, least, share, at_least=True))
                    report.notes.append(f"CPU of both sides over {channel}, {callers}: {cpu:.2f} times that of clear")
                report.rows += rows
            server = candidates[f"stream-msgpack, {_SECURED}"].server
            connect, handshake, cpu = await handshakes(identity, server)
        report.notes.append(f"a new connection with its handshake, CPU of both sides: {cpu * 1e3:.2f} ms")
        report.notes.append(f"a TCP connection without TLS: {connect * 1e3:.2f} ms, median of {_HANDSHAKES}")
        report.goals.append(Goal("ms: a new connection with its handshake, median, both sides", 10.0, handshake * 1e3))


def shares(clear: Figures, secured: Figures) -> tuple[float, float]:
    """The rate of the second over that of the first, and its CPU time per call of both sides over that."""
    rate = ratio(clear.slices, secured.slices, lambda each: each.per_call)
    cpu = ratio(secured.slices, clear.slices, lambda each: (each.client + each.server) / len(each.times))
    return rate, cpu


async def handshakes(identity: str, server: Process) -> tuple[float, float, float]:
    """Seconds until a TCP connection is there, until both sides of one have proven who they are, and CPU of that."""
    url = URL(server.url).with_scheme("https")
    certificates = Certificates(make_identity_source(identity), ("benchmark",))
    try:
        await certificates.start()
        tls = ClientTLS(certificates)
        options = tls.options("bench", url)
        plain = [await _connect(url, {}) for _ in range(_HANDSHAKES)]
        cpu = time.process_time() + server.cpu()
        secured = [await _connect(url, options) for _ in range(_HANDSHAKES)]
        cpu = time.process_time() + server.cpu() - cpu
        tls.close()
    finally:
        await certificates.aclose()
    return median(plain), median(secured), cpu / _HANDSHAKES


async def _connect(url: URL, options: dict[str, object]) -> float:
    begun = time.perf_counter()
    _, writer = await asyncio.open_connection(url.host, url.port, **options)  # type: ignore[arg-type]
    seconds = time.perf_counter() - begun
    writer.close()
    return seconds
