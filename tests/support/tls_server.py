"""An ASGI application on a port with the TLS of the mesh, by hypercorn in the event loop of the test."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

from hypercorn.asyncio import serve
from hypercorn.config import Config

from meshcore import MeshApp, Settings
from meshcore.asgi.access.admission import Admission
from meshcore.asgi.messages import peer_of
from meshcore.ports.identity import Credentials, IdentitySource
from meshcore.security.certificates import Certificates
from meshcore.security.tls.server_tls import ServerTLS, server_context
from meshcore.serve import process
from meshcore.serve.address import open_socket
from meshcore.serve.unix_socket import bound_unix_socket
from tests.support.certificates import Authority


class GivenCredentials(IdentitySource):
    """Gives what the test says."""

    def __init__(self, *first: Credentials) -> None:
        self._first = first
        self._more: asyncio.Queue[tuple[Credentials, ...]] = asyncio.Queue()

    @classmethod
    def from_url(cls, url: str) -> Self:
        raise NotImplementedError

    async def open(self, names: Sequence[str]) -> tuple[Credentials, ...]:
        return self._first

    async def changes(self) -> AsyncIterator[tuple[Credentials, ...]]:
        while True:
            yield await self._more.get()

    async def replace(self, certificates: Certificates, *credentials: Credentials) -> None:
        """Give other credentials, and return when they were taken over."""
        taken = asyncio.Event()
        certificates.changed.add(taken.set)
        self._more.put_nowait(credentials)
        await asyncio.wait_for(taken.wait(), 5)
        certificates.changed.discard(taken.set)


class Served:
    """A running server.

    Attributes:
        port: at which it listens, on 127.0.0.1.
        certificates: of the server.
        tls: of the server.
        source: changes the certificates.
    """

    def __init__(self, port: int, certificates: Certificates, tls: ServerTLS, source: GivenCredentials) -> None:
        self.port = port
        self.certificates = certificates
        self.tls = tls
        self.source = source

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def replace(self, *credentials: Credentials) -> None:
        """Replace the certificates of the server."""
        await self.source.replace(self.certificates, *credentials)


@asynccontextmanager
async def served(app: Any, *credentials: Credentials, minimum: str = "1.3") -> AsyncGenerator[Served]:
    """Serve an ASGI application to everybody."""
    admission = Admission(lambda _: app, frozenset(), strict=False)

    async def admitted(scope: Any, receive: Any, send: Any) -> None:
        await (app if scope["type"] == "lifespan" else admission.endpoint(scope))(scope, receive, send)

    source = GivenCredentials(*credentials)
    certificates = Certificates(source, [])
    await certificates.start()
    tls = ServerTLS(certificates, minimum=minimum)
    tls.start()
    closing = asyncio.Event()
    with open_socket("127.0.0.1:0") as sock:
        port = sock.getsockname()[1]
        config = Config()
        config.bind = [f"fd://{sock.detach()}"]
        config.errorlog = None
        config.certfile = config.keyfile = "not read"
        config.create_ssl_context = lambda: server_context(lambda: tls)
        running = asyncio.create_task(serve(admitted, config, shutdown_trigger=closing.wait))
    try:
        yield Served(port, certificates, tls, source)
    finally:
        closing.set()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(running, 10)
        tls.close()
        await certificates.aclose()


def client_context(
    authority: Authority, folder: Path, component: str = "", *, alpn: Sequence[str] = ("http/1.1",), **leaf: Any
) -> ssl.SSLContext:
    """The context of a client that trusts the authority, with a certificate of it if it is some component."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols(list(alpn))
    if component or leaf:
        authority.leaf(component, **leaf).load(context, folder)
    else:
        context.load_verify_locations(cadata=authority.roots.decode())
    return context


@asynccontextmanager
async def served_mesh(
    module: type, *credentials: Credentials, unix_socket: str = "", **settings: Any
) -> AsyncGenerator[ServedMesh]:
    """Serve a module with these certificates, as `meshcore run` does."""
    source = GivenCredentials(*credentials)
    closing = asyncio.Event()
    with open_socket("127.0.0.1:0") as sock, bound_unix_socket(unix_socket) as more:
        url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        given = Settings(registry="local:", advertise_url=url, unix_socket=unix_socket, **settings)
        app = MeshApp(module, settings=given, overrides={IdentitySource: source})
        async with app.running():
            copies = [os.dup(each.fileno()) for each in (sock, *more)]
            level = logging.getLogger("hypercorn.error").level
            config = process._config(copies, app)
            logging.getLogger("hypercorn.error").setLevel(level)
            running = asyncio.create_task(serve(process._without_lifespan(app), config, shutdown_trigger=closing.wait))
            certificates = app.mesh.runtime.certificates
            assert certificates is not None
            yield ServedMesh(url, app, source, certificates)
            await app.stop()
            closing.set()
            await asyncio.wait([running], timeout=10)
            await running


class ServedMesh:
    """A running mesh.

    Attributes:
        url: of the server.
        app: the server.
        source: changes its certificates.
        certificates: of it.
    """

    def __init__(self, url: str, app: MeshApp, source: GivenCredentials, certificates: Certificates) -> None:
        self.url = url
        self.app = app
        self.source = source
        self.certificates = certificates

    async def replace(self, *credentials: Credentials) -> None:
        """Replace the certificates of the server."""
        await self.source.replace(self.certificates, *credentials)


async def whoami(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that answers who calls."""
    if scope["type"] == "lifespan":
        for done in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{done}.complete"})
        return
    peer = peer_of(scope)
    body = json.dumps({"host": peer.host, "identity": peer.caller.identity, "http": scope.get("http_version")}).encode()
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": body})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
