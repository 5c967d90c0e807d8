"""`server.py PORT`: aspyx's FastAPI server with the benchmark's component at 127.0.0.1:PORT; prints `ready`."""

import signal
import socket
import sys
from contextlib import redirect_stdout

import uvicorn
from aspyx.di import create, module
from aspyx_service import (
    AbstractComponent,
    ChannelAddress,
    ComponentRegistry,
    FastAPIServer,
    ServiceManager,
    ServiceModule,
    SessionManager,
    implementation,
)
from aspyx_service.service import LocalComponentRegistry
from contract import AsyncBench, BenchComponent, SyncBench, Tree
from fastapi import FastAPI


@implementation()
class SyncBenchImpl(SyncBench):
    """Does the work of `SyncBench`."""

    def echo(self, tree: Tree) -> Tree:
        """Answer the same tree."""
        return tree

    def empty(self) -> int:
        """Do nothing."""
        return 0

    def text(self, text: str) -> str:
        """Answer the same text."""
        return text


@implementation()
class AsyncBenchImpl(AsyncBench):
    """Does the work of `AsyncBench`."""

    async def echo(self, tree: Tree) -> Tree:
        """Answer the same tree."""
        return tree

    async def empty(self) -> int:
        """Do nothing."""
        return 0

    async def text(self, text: str) -> str:
        """Answer the same text."""
        return text


@implementation()
class BenchComponentImpl(AbstractComponent, BenchComponent):
    """The component."""

    def get_addresses(self, port: int) -> list[ChannelAddress]:
        """Every channel that is measured."""
        return [
            ChannelAddress(name, f"http://127.0.0.1:{port}") for name in ("dispatch-json", "dispatch-msgpack", "rest")
        ]


@module(imports=[ServiceModule])
class ServerModule:
    """Everything aspyx needs to serve the component; no middleware, which is aspyx at its best."""

    @create()
    def create_registry(self) -> ComponentRegistry:
        """No Consul."""
        return LocalComponentRegistry()

    @create()
    def create_session_storage(self) -> SessionManager.Storage:
        """Aspyx wants one, used or not."""
        return SessionManager.InMemoryStorage(max_size=10, ttl=60)

    @create()
    def create_server(self, service_manager: ServiceManager, component_registry: ComponentRegistry) -> FastAPIServer:
        """No middleware."""
        return FastAPIServer(FastAPI(), service_manager, component_registry)


class ReadyServer(uvicorn.Server):
    """Says `ready` once it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as ever, then say so."""
        await super().startup(sockets)
        if self.started:
            print("ready", flush=True)


def main() -> None:
    """Serve until SIGTERM."""
    port = int(sys.argv[1])
    # uvicorn hands the signal on to the former handler when it has shut down
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with redirect_stdout(sys.stderr):  # aspyx prints its routes
        environment = FastAPIServer.boot(ServerModule, host="127.0.0.1", port=port, start_thread=False)
    app = environment.get(FastAPIServer).fast_api
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, access_log=False, log_level="warning", timeout_graceful_shutdown=5
    )
    ReadyServer(config).run()


if __name__ == "__main__":
    main()
