"""A call inside the process: what the proxy adds to the plain method call, and what one interceptor adds to that.

And what a call costs in a test: encoded, dispatched and decoded as between two processes, but without sockets.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from statistics import median

from benchmarks.contract import bundle
from benchmarks.served import ADDED, EchoPricing, ServedModule, intercepted
from examples.orders.api import PricingService
from meshcore import Mesh, load_settings
from meshcore.testing import memory_mesh

PLAIN, PROXY, INTERCEPTED = "plain method call", "proxy, local", f"proxy, local, {ADDED} interceptors"
MEMORY, MEMORY_BUNDLE = "in memory, a text", "in memory, a bundle of 7 items"


async def measure_local(rounds: int, calls: int) -> dict[str, float]:
    """Seconds per call, the median of the rounds; each begins with a collection of garbage and has none in it."""
    item = bundle()
    settings = load_settings({"registry": "local:"}, environ={})
    async with AsyncExitStack() as stack:
        meshes = [
            await stack.enter_async_context(Mesh(module, settings=settings)) for module in (ServedModule, intercepted())
        ]
        subjects = {
            PLAIN: EchoPricing(),
            PROXY: await meshes[0].get_service(PricingService),
            INTERCEPTED: await meshes[1].get_service(PricingService),
        }
        samples: dict[str, list[float]] = {name: [] for name in subjects}
        for _ in range(rounds):
            for name, subject in subjects.items():
                gc.collect()
                gc.disable()
                begin = time.perf_counter()
                for _ in range(calls):
                    await subject.quote(item)
                samples[name].append((time.perf_counter() - begin) / calls)
                gc.enable()
                await asyncio.sleep(0)
    return {name: median(times) for name, times in samples.items()}


async def measure_memory(rounds: int, calls: int) -> dict[str, float]:
    """Seconds of the median call over dispatch-msgpack to a mesh in memory.

    Of each call by itself: it is short enough to be over before somebody else takes the processor, a round is not.
    """
    item = bundle()
    async with memory_mesh(ServedModule, channel="dispatch-msgpack") as mesh:
        pricing = await mesh.get_service(PricingService)
        subjects: dict[str, Callable[[], Awaitable[object]]] = {
            MEMORY: lambda: pricing.price("sku"),
            MEMORY_BUNDLE: lambda: pricing.quote(item),
        }
        samples: dict[str, list[float]] = {name: [] for name in subjects}
        for _ in range(rounds):
            for name, subject in subjects.items():
                gc.collect()
                for _ in range(calls):
                    begin = time.perf_counter()
                    await subject()
                    samples[name].append(time.perf_counter() - begin)
    return {name: median(times) for name, times in samples.items()}
