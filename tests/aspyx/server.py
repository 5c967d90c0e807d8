"""`server.py PORT [CONSUL]`: a real aspyx server with the interop component at 127.0.0.1:PORT.

It prints `ready` once it listens, and ends with exit code 0 on SIGTERM. With the port of a Consul agent it registers
itself there, by aspyx's own registry; that is configured by the environment, as `consul.healthcheck.interval=1s`.
"""

import signal
import socket
import sys
from contextlib import redirect_stdout

import consul
import uvicorn
from aspyx.di import create, module
from aspyx.di.configuration import EnvConfigurationSource
from aspyx_service import (
    AbstractComponent,
    ChannelAddress,
    ComponentRegistry,
    ConsulComponentRegistry,
    FastAPIServer,
    RequestContext,
    ServiceManager,
    ServiceModule,
    SessionManager,
    health,
    implementation,
)
from aspyx_service.service import LocalComponentRegistry
from contract import AsyncInterop, InteropComponent, Item, Person, SyncInterop
from fastapi import FastAPI


@implementation()
class SyncInteropImpl(SyncInterop):
    """Does the work of `SyncInterop`."""

    def hello(self, message: str) -> str:
        return f"hello {message}"

    def echo_item(self, item: Item) -> Item:
        return item

    def echo_person(self, person: Person) -> Person:
        return person

    def add(self, a: int, b: int) -> int:
        return a + b

    def fail(self, reason: str) -> str:
        raise ValueError(reason)


@implementation()
class AsyncInteropImpl(AsyncInterop):
    """Does the work of `AsyncInterop`."""

    async def hello(self, message: str) -> str:
        return f"hello {message}"

    async def echo_item(self, item: Item) -> Item:
        return item

    async def echo_person(self, person: Person) -> Person:
        return person

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def fail(self, reason: str) -> str:
        raise ValueError(reason)


@implementation()
@health("/health")
class InteropComponentImpl(AbstractComponent, InteropComponent):
    """The component."""

    def get_addresses(self, port: int) -> list[ChannelAddress]:
        return [
            ChannelAddress(name, f"http://127.0.0.1:{port}") for name in ("dispatch-json", "dispatch-msgpack", "rest")
        ]


@module(imports=[ServiceModule])
class ServerModule:
    """Everything aspyx needs to serve the component."""

    @create()
    def create_configuration(self) -> EnvConfigurationSource:
        return EnvConfigurationSource()

    @create()
    def create_registry(self, configuration: EnvConfigurationSource) -> ComponentRegistry:
        # It asks for the configuration since aspyx makes things in any order, and would use its defaults.
        if len(sys.argv) == 2:
            return LocalComponentRegistry()
        registry = ConsulComponentRegistry(int(sys.argv[1]), consul.Consul("127.0.0.1", int(sys.argv[2])))
        registry.ip = "127.0.0.1"  # it takes that of the way out, where nothing listens
        return registry

    @create()
    def create_session_storage(self) -> SessionManager.Storage:
        return SessionManager.InMemoryStorage(max_size=10, ttl=60)

    @create()
    def create_server(self, service_manager: ServiceManager, component_registry: ComponentRegistry) -> FastAPIServer:
        app = FastAPI()
        app.add_middleware(RequestContext)
        return FastAPIServer(app, service_manager, component_registry)


class ReadyServer(uvicorn.Server):
    """Says `ready` once it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print("ready", flush=True)  # noqa: T201 - the protocol


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
