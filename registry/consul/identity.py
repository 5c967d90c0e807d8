"""The identity source on the certificate authority of Consul's service mesh."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from meshcore.core.errors import Code, CommunicationError, MeshError
from meshcore.ports.identity import Credentials, IdentityError, IdentitySource

from .api.connect import read_leaf, read_roots
from .certificates import UNREADABLE, credentials_of, issued, roots_of
from .following import follow
from .machines.blocking_query import BlockingQuery, Query
from .machines.certificate_set import CertificateSet, Chosen
from .source import ConsulSource

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from .api.config import ConsulConfig

_logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")  # of SPIFFE; other characters would be written in another way
_RENEWAL = 5.0  # seconds for the agent to renew a certificate at the start


class ConsulIdentitySource(ConsulSource, IdentitySource):
    """Has a certificate of Consul's authority for each component, and trusts the roots of that authority.

    The agent makes the keys and certificates, and renews them. One blocking query for each component, and one for the
    roots, tell of new ones at once. While Consul cannot be read, the last ones stay in use.

    Args:
        address: the agent, such as `http://127.0.0.1:8500`. None: CONSUL_HTTP_ADDR, else Consul's default.
        token: the ACL token, which must be allowed to write the services of the components. None: that of the
            environment.

    Raises:
        ValueError: an argument, or a variable of the environment, is invalid.
    """

    def _use(self, config: ConsulConfig) -> None:
        super()._use(config)
        self._queries: dict[str, BlockingQuery] = {}
        self._roots = BlockingQuery(random.Random())
        self._set: CertificateSet[Credentials, bytes] = CertificateSet((), _issued)

    async def open(self, names: Sequence[str]) -> tuple[Credentials, ...]:
        """Get a certificate for each component, and the roots."""
        for name in names:
            if not _NAME.fullmatch(name):
                raise IdentityError(
                    f"Consul has no certificates for {name!r}: a name with one is of letters, digits, '-', '_' and '.'"
                )
        self._queries = {name: BlockingQuery(random.Random()) for name in names}
        self._set = CertificateSet(names, _issued)
        try:
            self._client.start()
            await self._read_all()
        except MeshError as error:
            await self.aclose()
            raise IdentityError(f"no certificate from {self._config.url}: {error.message}") from error
        except BaseException:
            await self.aclose()
            raise
        chosen = self._set.news()
        if chosen is None or chosen.distrusted:
            await self.aclose()
            raise IdentityError(
                f"Consul at {self._config.url} gives certificates that none of its roots has issued: "
                + ", ".join(chosen.distrusted if chosen else names)
            )
        return _all(chosen)

    async def changes(self) -> AsyncGenerator[tuple[Credentials, ...], None]:
        """Yield each new set, until closed."""
        tasks = [asyncio.create_task(follow("the roots of Consul", self._roots, self._read_roots, self._use_roots))]
        for name, query in self._queries.items():
            read, use = partial(self._read_leaf, name), partial(self._use_leaf, name)
            tasks.append(asyncio.create_task(follow(f"the certificate of {name}", query, read, use)))
        try:
            while True:
                self._changed.clear()
                if (chosen := self._set.news()) is not None:
                    if chosen.distrusted:
                        text = "none of the roots that Consul trusts has issued the certificate of %s; it stays in use"
                        _logger.warning(text, ", ".join(chosen.distrusted))
                    yield _all(chosen)
                await self._changed.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _read_all(self) -> None:
        read = self._first_roots(), *map(self._first_leaf, self._queries)
        # All of them end before an error is raised, so that nothing is left of them.
        for error in filter(None, await asyncio.gather(*read, return_exceptions=True)):
            raise error

    async def _first_roots(self) -> None:
        index, roots = await self._read_roots(self._roots.query(asyncio.get_running_loop().time()))
        self._roots.answered(index)
        self._set.read_roots(roots)

    async def _first_leaf(self, name: str) -> None:
        """Read a certificate. The agent may hold one that has expired, and renews it only for a query that blocks."""
        query = self._queries[name]
        asked = query.query(asyncio.get_running_loop().time())
        index, leaf = await self._read_leaf(name, asked)
        query.answered(index)
        if leaf.ends <= time.time():
            asked = Query(asked.at, index, _RENEWAL, asked.timeout)
            index, leaf = await self._read_leaf(name, asked)
            query.answered(index)
        if objection := self._use_leaf(name, leaf):
            raise CommunicationError(Code.UNAVAILABLE, f"for {name} {objection}")

    async def _read_roots(self, query: Query) -> tuple[int, bytes]:
        index, certificates = await read_roots(self._client, query)
        try:
            return index, roots_of(certificates)
        except UNREADABLE as error:
            raise CommunicationError(Code.UNAVAILABLE, f"a root of Consul cannot be used: {error}") from error

    async def _read_leaf(self, name: str, query: Query) -> tuple[int, Credentials]:
        index, leaf = await read_leaf(self._client, name, query)
        try:
            return index, credentials_of(leaf)
        except UNREADABLE as error:
            text = f"the certificate of {name} cannot be used: {error}"
            raise CommunicationError(Code.UNAVAILABLE, text) from error

    def _use_roots(self, roots: bytes) -> str:
        self._set.read_roots(roots)
        self._changed.set()
        return ""

    def _use_leaf(self, name: str, leaf: Credentials) -> str:
        """Take a certificate. Returns why not, else an empty text."""
        now = time.time()
        if leaf.ends <= now:
            return f"Consul gives one that has expired at {_date(leaf.ends)}"
        if leaf.begins > now:
            return f"Consul gives one that is valid from {_date(leaf.begins)} on; is the clock of this machine right?"
        self._set.read_leaf(name, leaf)
        self._changed.set()
        return ""


def _all(chosen: Chosen[Credentials, bytes]) -> tuple[Credentials, ...]:
    return tuple(msgspec.structs.replace(leaf, roots=chosen.roots) for leaf in chosen.leaves)


def _issued(leaf: Credentials, roots: bytes) -> bool:
    return issued(leaf.chain, roots)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
