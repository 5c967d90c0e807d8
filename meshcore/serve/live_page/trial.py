"""Makes one call by the contract of its method, for people who try it out."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from meshcore.asgi.page.routes import TriedCall
from meshcore.client.overview.trial import command_line, read_arguments
from meshcore.codec.codec import JSON
from meshcore.contract.contract import MethodContract, ServiceContract
from meshcore.contract.stub import stub_of
from meshcore.core.attempt import Attempt
from meshcore.core.call import Call, Handler, Interceptors
from meshcore.core.errors import Code, LocalError, MeshError
from meshcore.core.settings import Settings
from meshcore.declare.injection import create, module
from meshcore.mesh.mesh import Mesh

_MOST_ITEMS = 20
"""Items of a stream that a tried call waits for."""


class Tried(msgspec.Struct, frozen=True):
    """The outcome of a call that somebody tried.

    Attributes:
        result: as plain data; None if it failed.
        error: code and message; None if it succeeded.
        attempts: that it took.
        seconds: that it took.
        line: the same call for a terminal.
    """

    result: msgspec.Raw | None
    error: Mapping[str, str] | None
    attempts: Sequence[Attempt]
    seconds: float
    line: str


async def try_call(
    overrides: Mapping[type, object],
    settings: Settings,
    tried: TriedCall,
    service: ServiceContract,
    method: MethodContract,
) -> bytes:
    """The outcome of a call as JSON, also if it failed.

    Args:
        overrides: what the client shares with the mesh of this process.
        settings: of the client.
        tried: what is called.
        service: from the contract of its component.
        method: of the service.

    Raises:
        LocalError: it cannot be made.
    """
    try:
        interface, component = stub_of(tried.component, service, method)
    except ValueError as error:
        raise LocalError(Code.UNIMPLEMENTED, f"{tried.method} cannot be tried: {error}") from None
    trail: list[Attempt] = []

    async def watch(handler: Handler, call: Call) -> Any:
        try:
            return await handler(call)
        finally:
            trail.extend(call.trail)

    def interceptors(_self: object) -> Interceptors:
        return Interceptors(client=[watch])

    client = module(components=[component])(type("LivePage", (), {"interceptors": create()(interceptors)}))
    result: msgspec.Raw | None = None
    failed: dict[str, str] | None = None
    # A mesh of its own: the types of the stub are of this contract, which may be another one tomorrow.
    async with Mesh(client, settings=settings, overrides=overrides) as mesh:
        described = mesh.runtime.catalog.service(interface).method(method.name)
        if described is None:
            raise RuntimeError("a stub has its method")
        arguments = read_arguments(described, tried.arguments)
        await mesh.wait_for(interface)
        begun = time.monotonic()
        try:
            found: Any = getattr(await mesh.get_service(interface), method.name)(**arguments)
            result = msgspec.Raw(JSON.encoder(Any)(await (_first(found) if described.yields else found)))
        except MeshError as error:
            failed = {"code": error.code.value, "message": error.message}
        seconds = time.monotonic() - begun
    line = command_line(service.name, method.name, tried.arguments)
    return msgspec.json.encode(Tried(result, failed, trail, seconds, line))


async def _first(stream: AsyncGenerator[Any]) -> list[Any]:
    """The first items of a stream."""
    found: list[Any] = []
    async with aclosing(stream) as items:
        async for item in items:
            found.append(item)
            if len(found) >= _MOST_ITEMS:
                break
    return found
