"""Sends requests to one Consul agent, and turns its errors into those of the mesh.

Watches and other requests have a session each, so neither waits for the connections of the other. aiohttp resends GET,
PUT and DELETE when a connection breaks. With the index of an agent that has restarted, such a request would block for
its whole wait and miss all changes. A middleware prevents that: it raises an error class that aiohttp does not know.
"""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import msgspec
from yarl import URL

from meshcore.client.connections.tls_failure import tls_failure
from meshcore.core.errors import AuthorizationError, Code, CommunicationError, MeshError

from .connection_limit import ConnectionLimit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .config import ConsulConfig

T = TypeVar("T")

_logger = logging.getLogger(__name__)

CONTROL = 5.0
"""Seconds for a request that does not block."""

_CONNECT = 3.0
_POOL = 8
_MAX_BODY = 16 * 1024 * 1024  # bytes; 500 instances are one megabyte
_MAX_ERROR_BODY = 4096
_MAX_ERROR_TEXT = 200  # characters of an error body that are shown

_NO_ACL = "ACL support disabled"
_UNKNOWN = ("does not have associated TTL", "Unknown check", "Unknown service")

OK, NOT_FOUND, TOO_MANY, UNAVAILABLE = 200, 404, 429, 503
_BAD, _UNAUTHENTICATED, _FORBIDDEN, _SERVER = 400, 401, 403, 500


class ConsulHTTP:
    """The connections to one agent. Use it between `start` and `close`, on one event loop."""

    def __init__(self, config: ConsulConfig) -> None:
        self._config = config
        self._watches: aiohttp.ClientSession | None = None
        self._control: aiohttp.ClientSession | None = None
        self._limit = ConnectionLimit()

    def start(self) -> None:
        """Make the sessions. Nothing is sent yet.

        Raises:
            CommunicationError: a file for TLS cannot be used.
        """
        try:
            tls = self._config.tls()
        except OSError as error:
            raise CommunicationError(
                Code.FAILED_PRECONDITION, f"cannot use the TLS files for Consul: {error}"
            ) from error
        # Without compression, so that the bound on the body bounds the memory.
        headers = {"Accept-Encoding": "identity"}
        if self._config.token:
            headers["X-Consul-Token"] = self._config.token
        tls_option: Any = True if tls is None else tls
        self._watches = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, ssl=tls_option),
            headers=headers,
            auto_decompress=False,
            middlewares=(_no_resend,),
        )
        self._control = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_POOL, ssl=tls_option),
            headers=headers,
            auto_decompress=False,
            middlewares=(_no_resend,),
        )

    async def close(self) -> None:
        """Close the sessions. Requests in progress fail."""
        for session in (self._watches, self._control):
            if session is not None:
                await session.close()

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        seconds: float = CONTROL,
        watch: bool = False,
        accepted: frozenset[int] = frozenset({OK}),
    ) -> AsyncGenerator[tuple[aiohttp.ClientResponse, bytearray], None]:
        """Send one request. Yields the response and its whole body.

        Args:
            method: the HTTP method.
            path: the quoted path below `/v1/`, with the query.
            data: the body.
            seconds: the timeout of the whole request.
            watch: the request blocks, so it takes a connection of its own.
            accepted: the statuses that are no error.

        Raises:
            CommunicationError: as described in `ConsulClient`.
            AuthorizationError: likewise.
        """
        session = self._watches if watch else self._control
        if session is None:
            raise CommunicationError(Code.FAILED_PRECONDITION, "the client of Consul is not entered")
        url = URL(f"{self._config.url}/v1/{path}", encoded=True)
        begun = time.monotonic()
        try:
            async with session.request(
                method,
                url,
                data=data,
                allow_redirects=False,
                server_hostname=self._config.server_name or None,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT),
            ) as answer:
                # Before the headers are read: the index of an error means nothing.
                if answer.status not in accepted:
                    if answer.status == TOO_MANY and self._limit.refused():
                        _log_limit(self._config.url)
                    raise _error(answer.status, path, await _read(answer, _MAX_ERROR_BODY))
                body = await _read(answer, _MAX_BODY)
                if len(body) > _MAX_BODY:
                    raise malformed(path, f"it has more than {_MAX_BODY} bytes")
                if watch:
                    self._limit.reset()
                yield answer, body
        except (aiohttp.ClientError, _BrokenError, OSError, TimeoutError) as error:
            now = time.monotonic()
            if isinstance(error, aiohttp.ClientConnectorError):
                self._limit.reset()
            # Only for watches, whose connections are new. A pooled one may have been closed while it was idle.
            elif watch and isinstance(error, _BrokenError) and self._limit.closed(now, now - begun):
                _log_limit(self._config.url)
            text = tls_failure(error, "CONSUL_CACERT, or as ca=... in the URL of the registry") or str(error)
            text = text or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
            raise CommunicationError(Code.UNAVAILABLE, f"Consul at {self._config.url}: {text}") from error


def _log_limit(url: str) -> None:
    _logger.error(
        "Consul at %s refuses new connections: this machine seems to have as many as the agent allows. Raise "
        "limits.http_max_conns_per_client of the agent (200 by default, for all processes of a machine together), or "
        "lower `watches` of the processes. Until then the last known instances stay in use, and requests are retried",
        url,
    )


class _BrokenError(Exception):
    """The connection broke. aiohttp resends a request after its own error for that, but not after this one."""


async def _no_resend(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
        raise  # nothing was sent, or aiohttp does not resend
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _BrokenError(str(error) or "the connection broke") from error


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytearray:
    """Read the body; of one that is larger, somewhat more than the bound."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most:
            break
    return body


def decoded(path: str, body: bytearray, kind: type[T]) -> T:
    """Decode a body.

    Raises:
        CommunicationError: it is malformed.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise malformed(path, str(error)) from error


def malformed(path: str, reason: str) -> CommunicationError:
    """Make the error of an answer that is malformed."""
    return CommunicationError(Code.UNAVAILABLE, f"Consul's answer to {path.partition('?')[0]} is malformed: {reason}")


def _error(status: int, path: str, body: bytearray) -> MeshError:
    said = body[:_MAX_ERROR_TEXT].decode(errors="replace").strip()
    text = f"Consul answers {path.partition('?')[0]} with {status}: {said}"
    if status in {_UNAUTHENTICATED, _FORBIDDEN} and _NO_ACL not in said:
        code = Code.PERMISSION_DENIED if status == _FORBIDDEN else Code.UNAUTHENTICATED
        return AuthorizationError(code, f"{text} (its token is unknown to Consul, or does not allow this)")
    # For an unknown check or service, newer agents answer with 404, older ones with 500 and a text.
    if status == NOT_FOUND or any(each in said for each in _UNKNOWN):
        return CommunicationError(Code.NOT_FOUND, text)
    if _BAD <= status < _SERVER and status != TOO_MANY:
        return CommunicationError(Code.INVALID_ARGUMENT, text)
    return CommunicationError(Code.UNAVAILABLE, text)
