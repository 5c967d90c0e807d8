"""Requests to one Consul agent over HTTP, and what its answers and silences mean as errors of the mesh.

Watches and everything else have a session each, so neither waits for the other's connections. And aiohttp sends GET,
PUT and DELETE again without a word when a connection breaks: with the index of an agent that has restarted since, that
would block the whole wait and miss all changes. A middleware gives such errors a class of its own, which it lets pass.
"""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import msgspec
from yarl import URL

from meshcore.core.errors import AuthorizationError, Code, CommunicationError, MeshError

from .turned_away import TurnedAway

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .config import ConsulConfig

T = TypeVar("T")

_logger = logging.getLogger(__name__)

CONTROL = 5.0
"""Seconds for everything but watches."""

_CONNECT = 3.0
_POOL = 8
_LARGEST = 16 * 1024 * 1024  # bytes of an answer; 500 instances are one megabyte
_LARGEST_ERROR = 4096  # of one that is none
_SHOWN = 200  # characters of what Consul says of an error

_NO_ACL = "ACL support disabled"
_UNKNOWN = ("does not have associated TTL", "Unknown check", "Unknown service")

OK, NOT_FOUND, TOO_MANY, UNAVAILABLE = 200, 404, 429, 503
_BAD, _UNAUTHENTICATED, _FORBIDDEN, _SERVER = 400, 401, 403, 500


class ConsulHTTP:
    """The connections to one agent. Between `start` and `close`, on one event loop."""

    def __init__(self, config: ConsulConfig) -> None:
        self._config = config
        self._watches: aiohttp.ClientSession | None = None
        self._control: aiohttp.ClientSession | None = None
        self._turned_away = TurnedAway()

    def start(self) -> None:
        """Make the sessions; nothing is sent yet.

        Raises:
            CommunicationError: a file for TLS cannot be used.
        """
        try:
            tls = self._config.tls()
        except OSError as error:
            raise CommunicationError(Code.FAILED_PRECONDITION, f"the TLS files for Consul: {error}") from error
        # Not compressed: a few bytes that unfold to gigabytes would be no answer to bound.
        headers = {"Accept-Encoding": "identity"}
        if self._config.token:
            headers["X-Consul-Token"] = self._config.token
        tls_option: Any = True if tls is None else tls
        self._watches = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, ssl=tls_option),
            headers=headers,
            auto_decompress=False,
            middlewares=(_never_again,),
        )
        self._control = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_POOL, ssl=tls_option),
            headers=headers,
            auto_decompress=False,
            middlewares=(_never_again,),
        )

    async def close(self) -> None:
        """Close them, and whatever is under way."""
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
        """One request; its answer and the whole body of it.

        Args:
            method: of HTTP.
            path: below `/v1/`, with its query, quoted.
            data: the body.
            seconds: for the whole.
            watch: it blocks, so it has a connection of its own.
            accepted: the statuses that are an answer.

        Raises:
            CommunicationError: as `ConsulClient` says.
            AuthorizationError: the same.
        """
        session = self._watches if watch else self._control
        if session is None:
            raise CommunicationError(Code.FAILED_PRECONDITION, "the client of Consul was not entered")
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
                # Before anything else: an error may carry an index, which means nothing.
                if answer.status not in accepted:
                    if answer.status == TOO_MANY and self._turned_away.told():
                        _say_limit(self._config.url)
                    raise _error(answer.status, path, await _read(answer, _LARGEST_ERROR))
                body = await _read(answer, _LARGEST)
                if len(body) > _LARGEST:
                    raise garbage(path, f"more than {_LARGEST} bytes")
                if watch:
                    self._turned_away.forget()
                yield answer, body
        except (aiohttp.ClientError, _BrokenError, OSError, TimeoutError) as error:
            now = time.monotonic()
            if isinstance(error, aiohttp.ClientConnectorError):
                self._turned_away.forget()
            # Those of watches are new each time. Others may have been closed while nobody used them.
            elif watch and isinstance(error, _BrokenError) and self._turned_away.closed(now, now - begun):
                _say_limit(self._config.url)
            text = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
            raise CommunicationError(Code.UNAVAILABLE, f"Consul at {self._config.url}: {text}") from error


def _say_limit(url: str) -> None:
    _logger.error(
        "Consul at %s turns new connections away, as an agent does that has all it allows from one machine: raise "
        "limits.http_max_conns_per_client of the agent (200 by default, for all processes of the machine together), or "
        "lower `watches` of the processes; meanwhile what is known stays in use, and it is tried again",
        url,
    )


class _BrokenError(Exception):
    """The connection broke; unlike the error it stands for, aiohttp does not take it for a reason to send again."""


async def _never_again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
        raise  # nothing was sent, or nobody sends again
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _BrokenError(str(error) or "the connection broke") from error


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytearray:
    """The body, or its beginning if it has more bytes than that."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most:
            break
    return body


def decoded(path: str, body: bytearray, kind: type[T]) -> T:
    """The body as a type.

    Raises:
        CommunicationError: it is none.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise garbage(path, str(error)) from error


def garbage(path: str, reason: str) -> CommunicationError:
    """The error of an answer that cannot be understood."""
    return CommunicationError(
        Code.UNAVAILABLE, f"Consul's answer to {path.partition('?')[0]} cannot be understood: {reason}"
    )


def _error(status: int, path: str, body: bytearray) -> MeshError:
    said = body[:_SHOWN].decode(errors="replace").strip()
    text = f"Consul answers {path.partition('?')[0]} with {status}: {said}"
    if status in {_UNAUTHENTICATED, _FORBIDDEN} and _NO_ACL not in said:
        code = Code.PERMISSION_DENIED if status == _FORBIDDEN else Code.UNAUTHENTICATED
        return AuthorizationError(code, f"{text} (its token is unknown to Consul, or does not allow this)")
    # What an agent does not know is a 404 for newer ones, and a 500 with a text for older ones.
    if status == NOT_FOUND or any(each in said for each in _UNKNOWN):
        return CommunicationError(Code.NOT_FOUND, text)
    if _BAD <= status < _SERVER and status != TOO_MANY:
        return CommunicationError(Code.INVALID_ARGUMENT, text)
    return CommunicationError(Code.UNAVAILABLE, text)
