"""A call to another process on this machine, over the mesh's channels and as one would write it by hand."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from benchmarks.calls.handwritten import HandwrittenClient
from benchmarks.contract import ClientModule, bundle
from benchmarks.load import Calls, Figures, Slice, load
from benchmarks.processes import Process, free_port, hypercorn
from examples.orders.api import PricingService
from meshcore import Mesh, MeshError, load_settings
from meshcore.wire.endpoints import READYZ

HANDWRITTEN = "hand-written"
UNBOUNDED = "hand-written, no timeout"
CHANNELS = ("dispatch-msgpack", "dispatch-json", "rest")
WITHOUT = "dispatch-msgpack, data plane off"
"""Deadlines and round robin only: no retries, hedges, ejection, loads, adaptive limit."""

_OFF = {"resilience": "false", "adaptive_limit": "false"}
MANY = 64
TLS = ("--config", "python:meshcore.serve.tls.hypercorn")


@dataclass
class Candidate:
    """One way to call.

    Attributes:
        call: one call.
        server: who answers.
    """

    call: Calls
    server: Process


@dataclass
class Plan:
    """How much is measured.

    Attributes:
        rounds: how often every candidate has its turn, under each load.
        seconds: how long a turn is.
        loop: the event loop on both sides, asyncio or uvloop.
        quick: whether it is only to be shown that all works.
        peers: the files of the peers to compare with; of all, if there is none.
    """

    rounds: int
    seconds: float
    loop: str
    quick: bool = False
    peers: Sequence[str] = ()


@asynccontextmanager
async def by_hand(plan: Plan) -> AsyncGenerator[dict[str, Candidate], None]:
    """The reference, in a process of its own."""
    item = bundle()
    with hypercorn("benchmarks.calls.handwritten:app", plan.loop, {}, free_port(), "/") as server:
        async with HandwrittenClient(server.url) as client, HandwrittenClient(server.url, None) as unbounded:
            assert await client.quote(item) == item
            yield {
                HANDWRITTEN: Candidate(partial(client.quote, item), server),
                UNBOUNDED: Candidate(partial(unbounded.quote, item), server),
            }


@asynccontextmanager
async def without_data_plane(plan: Plan, notes: list[str]) -> AsyncGenerator[dict[str, Candidate], None]:
    """The fastest channel with everything off that can be, on both sides."""
    async with by_mesh(plan, notes, CHANNELS[:1], _OFF) as candidates:
        for candidate in candidates.values():
            yield {WITHOUT: candidate}


@asynccontextmanager
async def by_mesh(
    plan: Plan,
    notes: list[str],
    channels: Sequence[str] = CHANNELS,
    options: Mapping[str, str] = MappingProxyType({}),
    module: str = "benchmarks.served:ServedModule",
    identity: str = "",
) -> AsyncGenerator[dict[str, Candidate], None]:
    """Every channel that works; for the others, a note says why not.

    Args:
        plan: how much is measured.
        notes: gets what does not work.
        channels: by name.
        options: settings of both sides.
        module: of the server.
        identity: where the certificates of both sides come from; empty for clear text.
    """
    item, port = bundle(), free_port()
    url = f"{'https' if identity else 'http'}://127.0.0.1:{port}"
    registry = f"static:bench={','.join(f'{name}({url})' for name in channels)}"
    if identity:
        options = {**options, "identity": identity}
    options = {f"MESHCORE_{name.upper()}": value for name, value in options.items()}
    env = {
        **options,
        "MESHCORE_MODULE": module,
        "MESHCORE_ADVERTISE_URL": url,
        "MESHCORE_REGISTRY": registry,
    }
    async with AsyncExitStack() as stack:
        server = stack.enter_context(
            hypercorn("meshcore.app:app", plan.loop, env, port, READYZ, *(TLS if identity else ()))
        )
        settings = load_settings({"registry": registry}, environ=options)
        mesh = await stack.enter_async_context(Mesh(ClientModule, settings=settings))
        candidates: dict[str, Candidate] = {}
        for name in channels:
            pricing = await mesh.get_service(PricingService, name)
            try:
                assert await pricing.quote(item) == item
            except MeshError as error:
                notes.append(f"left out: channel {name} does not work: {error}")
            else:
                candidates[name] = Candidate(partial(pricing.quote, item), server)
        yield candidates


async def measure(candidates: Mapping[str, Candidate], callers: int, plan: Plan) -> dict[str, Figures]:
    """Let the candidates have their turns, in rounds, each round beginning with another of them."""
    figures = {name: Figures() for name in candidates}
    names = list(candidates)
    for number in range(-1, plan.rounds):  # the first round warms up, and does not count
        for at in range(len(names)):
            name = names[(at + number) % len(names)]
            got = await turn(candidates[name], callers, plan.seconds)
            if number >= 0:
                figures[name].slices.append(got)
    return figures


async def turn(candidate: Candidate, callers: int, seconds: float) -> Slice:
    """One candidate's turn."""
    gc.collect()
    cpu = candidate.server.cpu()
    got = await load(candidate.call, callers, seconds)
    got.server = candidate.server.cpu() - cpu
    return got
