"""A client of Consul's HTTP API.

It does not use the existing client library, which does not suit watches: it drops the leader flag, has no timeout for a
single query, ends idle watches before the agent does, and lets pending watches delay registrations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec

from meshcore.core.errors import AuthorizationError, Code, CommunicationError

from .http import (
    CONTROL,
    NOT_FOUND,
    OK,
    TOO_MANY,
    UNAVAILABLE,
    ConsulHTTP,
    decoded,
    malformed,
)
from .types import (
    AgentHealth,
    AgentSelf,
    AuthorizationRequest,
    AuthorizationResponse,
    CheckRow,
    Health,
    HealthEntry,
    Node,
    Pair,
    Registration,
    ServiceEntry,
    Tree,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .config import ConsulConfig

T = TypeVar("T")

_HEALTH_STATUSES = frozenset({OK, TOO_MANY, UNAVAILABLE})  # passing, warning, critical
_KEY_STATUSES = frozenset({OK, NOT_FOUND})


class ConsulClient:
    """A client of one agent. Use it within `async with`, on one event loop.

    Every request raises:
        CommunicationError: the agent cannot be reached, does not answer in time, or its answer is malformed. The code
            is `NOT_FOUND` if the agent answers so, and `INVALID_ARGUMENT` if the request is invalid.
        AuthorizationError: the token is unknown or does not allow the request.
    """

    def __init__(self, config: ConsulConfig) -> None:
        self._config = config
        self._http = ConsulHTTP(config)

    def start(self) -> None:
        """Make the sessions. Nothing is sent yet.

        Raises:
            CommunicationError: a file for TLS cannot be used.
        """
        self._http.start()

    async def close(self) -> None:
        """Close the sessions. Requests in progress fail."""
        await self._http.close()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def register(self, service: Registration) -> None:
        """Register a service. Checks of an earlier registration are removed."""
        await self._put("agent/service/register?replace-existing-checks=true", msgspec.json.encode(service))

    async def deregister(self, service: str) -> None:
        """Deregister a service. One that is not registered is no error."""
        try:
            await self._put(f"agent/service/deregister/{_quoted(service)}")
        except CommunicationError as error:
            if error.code is not Code.NOT_FOUND:
                raise

    async def maintain(self, service: str, *, enable: bool, reason: str = "") -> None:
        """Put a service into maintenance mode, which makes it critical, or end that."""
        await self._put(
            f"agent/service/maintenance/{_quoted(service)}?enable={str(enable).lower()}&reason={_quoted(reason)}"
        )

    async def update_check(self, check: str, status: str, output: str = "") -> None:
        """Report the status of a TTL check: "passing", "warning" or "critical"."""
        await self._put(
            f"agent/check/update/{_quoted(check)}", msgspec.json.encode({"Status": status, "Output": output})
        )

    async def service(self, service: str) -> ServiceEntry | None:
        """Return a service that is registered with this agent; None if it is not."""
        try:
            return await self.get(f"agent/service/{_quoted(service)}", ServiceEntry)
        except CommunicationError as error:
            if error.code is Code.NOT_FOUND:
                return None
            raise

    async def agent_health(self, service: str) -> AgentHealth | None:
        """Return the checks of a service that is registered with this agent; None if it is not."""
        path = f"agent/health/service/id/{_quoted(service)}"
        try:
            async with self._http.ask("GET", path, accepted=_HEALTH_STATUSES) as (_, body):
                return decoded(path, body, AgentHealth)
        except CommunicationError as error:
            if error.code is Code.NOT_FOUND:
                return None
            raise

    async def authorize(self, *requests: AuthorizationRequest) -> list[bool]:
        """Return whether the token has each right. A `CommunicationError` if Consul cannot tell."""
        path = f"internal/acl/authorize?{self._datacenter}"
        async with self._http.ask("POST", path, data=msgspec.json.encode(requests)) as (_, body):
            return [each.allow for each in decoded(path, body, list[AuthorizationResponse])]

    async def may_read_nodes(self) -> bool:
        """Return whether the token may read any node. Consul always has one."""
        return bool(await self.get(f"catalog/nodes?stale{self._datacenter}", list[Node]))

    async def agent(self) -> AgentSelf:
        """Return the agent's configuration. The token needs the right to read the agent."""
        return await self.get("agent/self", AgentSelf)

    async def health(
        self,
        name: str,
        *,
        index: int = 0,
        wait: float = 0.0,
        timeout: float = CONTROL,  # noqa: ASYNC109 - aiohttp's own ends the connection as well
        pooled: bool = False,
    ) -> Health:
        """Read all registrations of a service, from any server, leader or not.

        Args:
            name: of the service.
            index: 0 to get an answer at once; or the index of the last answer, to get one after the next change.
            wait: seconds that Consul may hold the request.
            timeout: seconds until the request is given up.
            pooled: use one of the few connections that stay open, and wait for one. Not for a request that blocks.
        """
        path = f"health/service/{_quoted(name)}"
        newest, leader, entries = await self.watched(
            path, list[HealthEntry], index, wait, timeout, pooled=pooled, hides=True
        )
        return Health(newest, leader, entries)

    async def checks(
        self,
        state: str,
        *,
        index: int = 0,
        wait: float = 0.0,
        timeout: float = CONTROL,  # noqa: ASYNC109 - as above
    ) -> tuple[int, list[CheckRow]]:
        """Read all checks in a state: "passing", "warning", "critical" or "any". Returns the index, too."""
        newest, _, rows = await self.watched(f"health/state/{state}", list[CheckRow], index, wait, timeout)
        return newest, rows

    async def catalog(
        self,
        *,
        index: int = 0,
        wait: float = 0.0,
        timeout: float = CONTROL,  # noqa: ASYNC109 - as above
    ) -> tuple[int, dict[str, list[str]]]:
        """Read the tags of all services. Registrations end the wait, health does not. Returns the index, too."""
        newest, _, tags = await self.watched("catalog/services", dict[str, list[str]], index, wait, timeout)
        return newest, tags

    async def services(self) -> dict[str, list[str]]:
        """Read the tags of all services at once."""
        return await self.get(f"catalog/services?stale{self._datacenter}", dict[str, list[str]])

    async def leader(self) -> str:
        """Return the address of the leader; empty if there is none."""
        return await self.get("status/leader", str)

    async def read(self, key: str) -> bytes | None:
        """Return the value of a key; None if there is no such key."""
        try:
            pairs = await self.get(f"kv/{quote(key)}?stale{self._datacenter}", list[Pair])
        except CommunicationError as error:
            if error.code is Code.NOT_FOUND:
                return None
            raise
        return (pairs[0].value or b"") if pairs else None

    async def tree(self, prefix: str, *, index: int = 0, wait: float = 0.0, timeout: float = CONTROL) -> Tree:  # noqa: ASYNC109
        """Read all keys that begin with a prefix. The arguments are those of `health`."""
        path = f"kv/{quote(prefix)}"
        return Tree(*await self.watched(path, list[Pair], index, wait, timeout, hides=True))

    async def write(self, key: str, value: bytes) -> None:
        """Set the value of a key."""
        await self._put(f"kv/{quote(key)}", value)

    @property
    def _datacenter(self) -> str:
        return f"&dc={_quoted(self._config.datacenter)}" if self._config.datacenter else ""

    async def watched(  # noqa: PLR0913 - the last ones are options by keyword
        self,
        path: str,
        kind: type[T],
        index: int,
        wait: float,
        timeout: float,  # noqa: ASYNC109 - as above
        *,
        pooled: bool = False,
        hides: bool = False,
        own: bool = False,
    ) -> tuple[int, bool, T]:
        """Send a query that may block. Returns the index, whether the server knows its leader, and the content.

        Args:
            path: the quoted path below `/v1/`.
            kind: of the content.
            index: as in `health`, like the next two.
            wait: seconds.
            timeout: seconds.
            pooled: as in `health`.
            hides: an answer without anything that the token may read is an error.
            own: what the agent itself holds, or what only the leader may answer; not what any server of the configured
                datacenter may.
        """
        tree = path.startswith("kv/")
        options = [f"index={index}&wait={max(1, round(wait * 1000))}ms"] if index else []
        options += [] if own else [f"stale{self._datacenter}"]
        options += ["recurse=true"] if tree else []
        path = f"{path}?{'&'.join(options)}"
        accepted = _KEY_STATUSES if tree else frozenset({OK})
        async with self._http.ask("GET", path, seconds=timeout, watch=not pooled, accepted=accepted) as (answer, body):
            try:
                newest = int(answer.headers["X-Consul-Index"])
            except (KeyError, ValueError) as error:
                raise malformed(path, "it has no index") from error
            leader = answer.headers.get("X-Consul-KnownLeader", "true").lower() != "false"
            found = decoded(path, body if answer.status == OK else bytearray(b"[]"), kind)
            if hides and not found and answer.headers.get("X-Consul-Results-Filtered-By-ACLs") == "true":
                # From Consul 1.11 on. Older versions answer like for a service without instances.
                text = f"Consul hides all of {path.partition('?')[0]}: the token does not allow to read it"
                raise AuthorizationError(Code.PERMISSION_DENIED, text)
            return newest, leader, found

    async def get(self, path: str, kind: type[T]) -> T:
        """Read what is at a path below `/v1/`, quoted, with its query."""
        async with self._http.ask("GET", path) as (_, body):
            return decoded(path, body, kind)

    async def _put(self, path: str, data: bytes = b"") -> None:
        async with self._http.ask("PUT", path, data=data):
            pass


def _quoted(text: str) -> str:
    return quote(text, safe="")
