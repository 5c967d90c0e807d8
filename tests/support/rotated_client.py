"""Calls `whoami` by 32 callers over all channels until its input ends, then prints what became of the calls as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from meshcore import Mesh, MeshError, load_settings, module
from tests.support.whoami import Who, WhoComponent

CHANNELS = ("stream-msgpack", "dispatch-msgpack", "dispatch-json", "rest")
CALLERS = 32


@module(components=[WhoComponent])
class RotatedClient: ...


async def main() -> None:
    """Call, with the settings of the environment."""
    calls: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)  # nothing comes but its end
    async with Mesh(RotatedClient, settings=load_settings()) as mesh:

        async def call(channel: str) -> None:
            who = await mesh.get_service(Who, channel)
            while not ended.is_set():
                try:
                    assert await who.calls() == "certificate billing spiffe://dev.mesh/svc/billing"
                    calls[channel] += 1
                except (MeshError, AssertionError) as error:
                    failures[f"{channel}: {error}"] += 1
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(call(CHANNELS[number % len(CHANNELS)]))
            await asyncio.sleep(0.5)
            print("calling", flush=True)  # noqa: T201 - for who started it
    print(json.dumps({"calls": calls, "failures": failures}))  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1:] == ["uvloop"]:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
