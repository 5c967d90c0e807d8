"""The calls of Consul's HTTP API that the registry and the value source need.

Written on aiohttp, since the living client library gets in a watcher's way: it drops the leader flag, knows no timeout
of a single query, gives up idle watches before the agent ends them, and lets pending watches hold up registrations.
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
    garbage,
)
from .types import (
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
    from types import TracebackType
    from typing import Self

    from .config import ConsulConfig

T = TypeVar("T")

_JUDGED = frozenset({OK, TOO_MANY, UNAVAILABLE})
_OR_ABSENT = frozenset({OK, NOT_FOUND})


class ConsulClient:
    """One agent. Used within `async with`, on one event loop.

    Every call raises:
        CommunicationError: the agent cannot be reached, does not answer in time, or answers what cannot be understood.
            `NOT_FOUND` if it says so, `INVALID_ARGUMENT` if the request is wrong.
        AuthorizationError: the token is unknown or does not allow it.
    """

    def __init__(self, config: ConsulConfig) -> None:
        self._config = config
        self._http = ConsulHTTP(config)

    def start(self) -> None:
        """Make the sessions; nothing is sent yet.

        Raises:
            CommunicationError: a file for TLS cannot be used.
        """
        self._http.start()

    async def close(self) -> None:
        """Close them, and whatever is under way."""
        await self._http.close()

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
            async with self._http.ask("GET", path, accepted=_JUDGED) as (_, body):
                return decoded(path, body, Standing)
        except CommunicationError as error:
            if error.code is Code.NOT_FOUND:
                return None
            raise

    async def allowed(self, *questions: Question) -> list[bool]:
        """What the token may do; an error that is no `AuthorizationError` if Consul cannot tell."""
        path = f"internal/acl/authorize?{self._datacenter}"
        async with self._http.ask("POST", path, data=msgspec.json.encode(questions)) as (_, body):
            return [each.allow for each in decoded(path, body, list[Permission])]

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
        timeout: float = CONTROL,  # noqa: ASYNC109 - aiohttp's own ends the connection as well
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
        timeout: float = CONTROL,  # noqa: ASYNC109 - as above
    ) -> tuple[int, list[CheckRow]]:
        """The index and all checks in a state: "passing", "warning", "critical" or "any"."""
        newest, _, rows = await self._watched(f"health/state/{state}", list[CheckRow], index, wait, timeout)
        return newest, rows

    async def catalog(
        self,
        *,
        index: int = 0,
        wait: float = 0.0,
        timeout: float = CONTROL,  # noqa: ASYNC109 - as above
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

    async def tree(self, prefix: str, *, index: int = 0, wait: float = 0.0, timeout: float = CONTROL) -> Tree:  # noqa: ASYNC109
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
        accepted = _OR_ABSENT if tree else frozenset({OK})
        async with self._http.ask("GET", path, seconds=timeout, watch=not pooled, accepted=accepted) as (answer, body):
            try:
                # A negative index, or none, is no index; see Consul's page on blocking queries.
                newest = int(answer.headers["X-Consul-Index"])
            except (KeyError, ValueError) as error:
                raise garbage(path, "no index") from error
            leader = answer.headers.get("X-Consul-KnownLeader", "true").lower() != "false"
            found = decoded(path, body if answer.status == OK else bytearray(b"[]"), kind)
            if hides and not found and answer.headers.get("X-Consul-Results-Filtered-By-ACLs") == "true":
                # From Consul 1.11 on; older ones do not tell this from a service that nobody offers.
                text = f"Consul hides everything of {path.partition('?')[0]}: the token does not allow to read it"
                raise AuthorizationError(Code.PERMISSION_DENIED, text)
            return newest, leader, found

    async def _get(self, path: str, kind: type[T]) -> T:
        async with self._http.ask("GET", path) as (_, body):
            return decoded(path, body, kind)

    async def _put(self, path: str, data: bytes = b"") -> None:
        async with self._http.ask("PUT", path, data=data):
            pass


def _quoted(text: str) -> str:
    return quote(text, safe="")
