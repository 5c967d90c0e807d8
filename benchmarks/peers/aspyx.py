# /// script
# dependencies = ["aspyx-service>=0.11,<0.12"]
# ///
"""aspyx-service, over each of its channels, with its own server and client; see `benchmarks/aspyx`."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import uvicorn
from aspyx.di import Environment
from aspyx_service import FastAPIServer, ServiceManager

from benchmarks.comparison.answering import HOST, answering
from benchmarks.comparison.child import run
from benchmarks.comparison.payload import TEXT, Workload
from benchmarks.comparison.peer import Call, Calls, Peer
from benchmarks.processes import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "aspyx"))  # aspyx wants the contract as a module of its own

THREADS = "dispatch-msgpack, threads"


@asynccontextmanager
async def serve(variant: str, port: int) -> AsyncGenerator[None, None]:  # noqa: ARG001 - one serves all
    """Its FastAPI server."""
    from server import ServerModule  # noqa: PLC0415 - needs the path

    app = FastAPIServer.boot(ServerModule, host=HOST, port=port, start_thread=False).get(FastAPIServer).fast_api
    config = uvicorn.Config(app, host=HOST, port=port, access_log=False, log_level="warning")
    async with answering(uvicorn.Server(config).serve(), port):
        yield


@asynccontextmanager
async def connect(variant: str, port: int) -> AsyncGenerator[Calls, None]:
    """Its client: with coroutines, or with its other one, which is faster, in threads."""
    from client import ClientModule  # noqa: PLC0415 - needs the path
    from contract import AsyncBench, BenchComponent, SyncBench, tree  # noqa: PLC0415 - needs the path

    ClientModule.url = f"http://{HOST}:{port}"
    manager = Environment(ClientModule).get(ServiceManager)
    assert manager.get_descriptor(BenchComponent) is not None
    blocking = variant == THREADS
    bench = manager.get_service(SyncBench if blocking else AsyncBench, preferred_channel=variant.partition(",")[0])
    yield {
        Workload.EMPTY: Call(bench.empty, 0, blocking=blocking),
        Workload.TREE: Call(partial(bench.echo, tree()), tree(), blocking=blocking),
        Workload.TEXT: Call(partial(bench.text, TEXT), TEXT, blocking=blocking),
    }


PEER = Peer("aspyx-service", ["dispatch-json", "dispatch-msgpack", "rest", THREADS], serve, connect)

if __name__ == "__main__":
    run(PEER)
