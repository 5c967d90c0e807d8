"""The calls of Consul's HTTP API that the registry and the value source need. Nothing else speaks HTTP to Consul.

Written on aiohttp, since the living client library gets in a watcher's way: it drops the leader flag, knows no timeout
of a single query, gives up idle watches before the agent ends them, and lets pending watches hold up registrations.

Watches and everything else have a session each, so neither waits for the other's connections. And aiohttp sends GET,
PUT and DELETE again without a word when a connection breaks: with the index of an agent that has restarted since, that
would block the whole wait and miss all changes. A middleware gives such errors a class of its own, which it lets pass.
"""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from meshcore.errors import AuthorizationError, Code, CommunicationError, MeshError
from registry.consul_limit import TurnedAway
from registry.consul_types import (
    AgentSelf,
    CheckRow,
    Health,
    HealthEntry,
    Node,
    Pair,
    Permission,
    Question,
    Registration,
    ServiceEntry,
    Standing,
    Tree,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import Self

    from registry.consul_config import ConsulConfig

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_CONNECT = 3.0
_CONTROL = 5.0  # seconds for everything but watches
_POOL = 8
_LARGEST = 16 * 1024 * 1024  # bytes of an answer; 500 instances are one megabyte
_LARGEST_ERROR = 4096  # of one that is none
_SHOWN = 200  # characters of what Consul says of an error

_NO_ACL = "ACL support disabled"
_UNKNOWN = ("does not have associated TTL", "Unknown check", "Unknown service")

_OK, _BAD, _UNAUTHENTICATED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _SERVER = 200, 400, 401, 403, 404, 429, 500
_JUDGED = frozenset({200, 429, 503})
_OR_ABSENT = frozenset({_OK, _NOT_FOUND})


class ConsulClient:
    """One agent. Used within `async with`, on one event loop.

    Every call raises:
        CommunicationError: the agent cannot be reached, does not answer in time, or answers what cannot be understood.
            `NOT_FOUND` if it says so, `INVALID_ARGUMENT` if the request is wrong.
        AuthorizationError: the token is unknown or does not allow it.
    """

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

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def register(self, service: Registration) -> None:
        """Tell the agent of a service; checks that it had and no longer has are removed."""
        await self._put("agent/service/register?replace-existing-checks=true", msgspec.json.encode(service))

    async def deregister(self, service: str) -> None:
        """Take a service back; that it is not there is no error."""
        try:
            await self._put(f"agent/service/deregister/{_quoted(service)}")
        except CommunicationError as error:
            if error.code is not Code.NOT_FOUND:
                raise

    async def maintain(self, service: str, *, enable: bool, reason: str = "") -> None:
        """Make a service critical, or end that."""
        await self._put(
            f"agent/service/maintenance/{_quoted(service)}?enable={str(enable).lower()}&reason={_quoted(reason)}"
        )

    async def update_check(self, check: str, status: str, output: str = "") -> None:
        """The heartbeat of a check with a time to live: "passing", "warning" or "critical"."""
        await self._put(
            f"agent/check/update/{_quoted(check)}", msgspec.json.encode({"Status": status, "Output": output})
        )

    async def service(self, service: str) -> ServiceEntry | None:
        """What this very agent knows of a service, None if nothing."""
        try:
            return await self._get(f"agent/service/{_quoted(service)}", ServiceEntry)
        except CommunicationError as error:
            if error.code is Code.NOT_FOUND:
                return None
            raise

    async def standing(self, service: str) -> Standing | None:
        """How this very agent judges a service, None if it does not know of it."""
        path = f"agent/health/service/id/{_quoted(service)}"
        try:
            # The status repeats what the body says: passing, warning, critical.
            async with self._asked("GET", path, accepted=_JUDGED) as (_, body):
                return _decoded(path, body, Standing)
        except CommunicationError as error:
            if error.code is Code.NOT_FOUND:
                return None
            raise

    async def allowed(self, *questions: Question) -> list[bool]:
        """What the token may do; an error that is no `AuthorizationError` if Consul cannot tell."""
        path = f"internal/acl/authorize?{self._datacenter}"
        async with self._asked("POST", path, data=msgspec.json.encode(questions)) as (_, body):
            return [each.allow for each in _decoded(path, body, list[Permission])]

    async def sees_nodes(self) -> bool:
        """Whether the token may read any node. There always is one."""
        return bool(await self._get(f"catalog/nodes?stale{self._datacenter}", list[Node]))

    async def agent(self) -> AgentSelf:
        """Who the agent is; it needs a token that may read it."""
        return await self._get("agent/self", AgentSelf)

    async def health(
        self,
        name: str,
        *,
        index: int = 0,
        wait: float = 0.0,
        timeout: float = _CONTROL,  # noqa: ASYNC109 - aiohttp's own ends the connection as well
        pooled: bool = False,
    ) -> Health:
        """All registrations of a service, from any server, leader or not.

        Args:
            name: of the service.
            index: 0, or that of the last answer: then it comes when something is newer, or after the wait.
            wait: seconds.
            timeout: seconds after which nobody will answer any more.
            pooled: take one of the few connections that stay open, and wait for it; not for a query that blocks.
        """
        path = f"health/service/{_quoted(name)}"
        newest, leader, entries = await self._watched(
            path, list[HealthEntry], index, wait, timeout, pooled=pooled, hides=True
        )
        return Health(newest, leader, entries)

    async def checks(
        self,
        state: str,
        *,
        index: int = 0,
        wait: float = 0.0,
        timeout: float = _CONTROL,  # noqa: ASYNC109 - as above
    ) -> tuple[int, list[CheckRow]]:
        """The index and all checks in a state: "passing", "warning", "critical" or "any"."""
        newest, _, rows = await self._watched(f"health/state/{state}", list[CheckRow], index, wait, timeout)
        return newest, rows

    async def catalog(
        self,
        *,
        index: int = 0,
        wait: float = 0.0,
        timeout: float = _CONTROL,  # noqa: ASYNC109 - as above
    ) -> tuple[int, dict[str, list[str]]]:
        """The index and the tags of all services, by name; it blocks on registrations, and not on health."""
        newest, _, tags = await self._watched("catalog/services", dict[str, list[str]], index, wait, timeout)
        return newest, tags

    async def services(self) -> dict[str, list[str]]:
        """The tags of all services, by name."""
        return await self._get(f"catalog/services?stale{self._datacenter}", dict[str, list[str]])

    async def leader(self) -> str:
        """The address of the leader, empty if there is none."""
        return await self._get("status/leader", str)

    async def read(self, key: str) -> bytes | None:
        """The value of a key, None if it is not there."""
        try:
            pairs = await self._get(f"kv/{quote(key)}?stale{self._datacenter}", list[Pair])
        except CommunicationError as error:
            if error.code is Code.NOT_FOUND:
                return None
            raise
        return (pairs[0].value or b"") if pairs else None

    async def tree(self, prefix: str, *, index: int = 0, wait: float = 0.0, timeout: float = _CONTROL) -> Tree:  # noqa: ASYNC109
        """All keys that begin with a prefix; the arguments are those of `health`."""
        path = f"kv/{quote(prefix)}"
        return Tree(*await self._watched(path, list[Pair], index, wait, timeout, hides=True))

    async def write(self, key: str, value: bytes) -> None:
        """Set the value of a key."""
        await self._put(f"kv/{quote(key)}", value)

    @property
    def _datacenter(self) -> str:
        return f"&dc={_quoted(self._config.datacenter)}" if self._config.datacenter else ""

    async def _watched(
        self,
        path: str,
        kind: type[T],
        index: int,
        wait: float,
        timeout: float,  # noqa: ASYNC109 - as above
        *,
        pooled: bool = False,
        hides: bool = False,
    ) -> tuple[int, bool, T]:
        """The index, whether the server knows its leader, and what it answers.

        With `hides` an answer of which the token may see nothing is an error, and not an empty one. Of keys it
        asks for all that begin so, and that there are none is an answer.
        """
        tree = path.startswith("kv/")
        query = f"?index={index}&wait={max(1, round(wait * 1000))}ms&stale" if index else "?stale"
        path = f"{path}{query}{'&recurse=true' if tree else ''}{self._datacenter}"
        accepted = _OR_ABSENT if tree else frozenset({_OK})
        async with self._asked("GET", path, seconds=timeout, watch=not pooled, accepted=accepted) as (answer, body):
            try:
                # A negative index, or none, is no index; see Consul's page on blocking queries.
                newest = int(answer.headers["X-Consul-Index"])
            except (KeyError, ValueError) as error:
                raise _garbage(path, "no index") from error
            leader = answer.headers.get("X-Consul-KnownLeader", "true").lower() != "false"
            found = _decoded(path, body if answer.status == _OK else bytearray(b"[]"), kind)
            if hides and not found and answer.headers.get("X-Consul-Results-Filtered-By-ACLs") == "true":
                # From Consul 1.11 on; older ones do not tell this from a service that nobody offers.
                text = f"Consul hides everything of {path.partition('?')[0]}: the token does not allow to read it"
                raise AuthorizationError(Code.PERMISSION_DENIED, text)
            return newest, leader, found

    async def _get(self, path: str, kind: type[T]) -> T:
        async with self._asked("GET", path) as (_, body):
            return _decoded(path, body, kind)

    async def _put(self, path: str, data: bytes = b"") -> None:
        async with self._asked("PUT", path, data=data):
            pass

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        seconds: float = _CONTROL,
        watch: bool = False,
        accepted: frozenset[int] = frozenset({_OK}),
    ) -> AsyncGenerator[tuple[aiohttp.ClientResponse, bytearray], None]:
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
                    if answer.status == _TOO_MANY and self._turned_away.told():
                        _say_limit(self._config.url)
                    raise _error(answer.status, path, await _read(answer, _LARGEST_ERROR))
                body = await _read(answer, _LARGEST)
                if len(body) > _LARGEST:
                    raise _garbage(path, f"more than {_LARGEST} bytes")
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


def _decoded(path: str, body: bytearray, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise _garbage(path, str(error)) from error


def _garbage(path: str, reason: str) -> CommunicationError:
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
    if status == _NOT_FOUND or any(each in said for each in _UNKNOWN):
        return CommunicationError(Code.NOT_FOUND, text)
    if _BAD <= status < _SERVER and status != _TOO_MANY:
        return CommunicationError(Code.INVALID_ARGUMENT, text)
    return CommunicationError(Code.UNAVAILABLE, text)


def _quoted(text: str) -> str:
    return quote(text, safe="")
