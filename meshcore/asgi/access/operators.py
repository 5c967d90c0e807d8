"""Puts a judgement before the endpoints of operators."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from starlette.routing import Route

from meshcore.asgi.messages import Application, Receive, Scope, Send, peer_of, problem_reply
from meshcore.core.caller import Peer
from meshcore.core.errors import AuthorizationError
from meshcore.wire.endpoints import CONTRACT
from meshcore.wire.errors import mesh_error_body
from meshcore.wire.headers import RequestHeaders


class AskedEndpoint:
    """A request to an endpoint.

    Attributes:
        headers: of the request.
        peer: the client.
    """

    __slots__ = ("headers", "peer")

    def __init__(self, scope: Scope) -> None:
        self.headers = RequestHeaders(scope["headers"])
        self.peer: Peer = peer_of(scope)


class Admits(Protocol):
    """Judges requests."""

    def admit(self, request: AskedEndpoint, path: str, *, contract: bool = False) -> Awaitable[None]:
        """Judge one, see `security.authorization.operators`.

        Raises:
            AuthorizationError: it may not be answered.
        """
        ...


def protect(route: Route, operators: Admits) -> None:
    """Let a route answer only those who may read it."""
    app: Application = route.app
    path, contract = route.path, route.path == CONTRACT

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        request = AskedEndpoint(scope)
        try:
            await operators.admit(request, path, contract=contract)
        except AuthorizationError as error:
            await problem_reply(request.headers, error, mesh_error_body(error)).send(send, close=True)
            return
        await app(scope, receive, send)

    route.app = run
