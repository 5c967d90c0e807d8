"""The intention source on Consul: which service may call which, as its operators write it."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from meshcore.core.errors import MeshError
from meshcore.ports.intentions import IntentionError, IntentionsByDestination, IntentionSource

from .api.connect import await_intentions, read_intentions
from .following import follow
from .machines.blocking_query import BlockingQuery, Query
from .machines.intention_rules import rules_of
from .source import ConsulSource

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from .api.config import ConsulConfig

_logger = logging.getLogger(__name__)


class ConsulIntentionSource(ConsulSource, IntentionSource):
    """Reads the intentions for the components of this process, and what Consul does with calls that none is for.

    One blocking query tells of changes, whatever the number of components: of any intention, after which those of the
    components are read. While Consul cannot be read, the last ones stay in use.

    Args:
        address: the agent, such as `http://127.0.0.1:8500`. None: CONSUL_HTTP_ADDR, else Consul's default.
        token: the ACL token, which must be allowed to read the intentions for the components. The right to read their
            services includes that. None: that of the environment.

    Raises:
        ValueError: an argument, or a variable of the environment, is invalid.
    """

    def _use(self, config: ConsulConfig) -> None:
        super()._use(config)
        self._query = BlockingQuery(random.Random())
        self._destinations: tuple[str, ...] = ()
        self._read: IntentionsByDestination = {}
        self._remarks: frozenset[str] = frozenset()

    async def open(self, destinations: Sequence[str]) -> IntentionsByDestination:
        """Read the first intentions."""
        self._destinations = tuple(destinations)
        try:
            self._client.start()
            index, found = await self._ask(self._query.query(asyncio.get_running_loop().time()))
        except MeshError as error:
            await self.aclose()
            raise IntentionError(f"no intentions from {self._config.url}: {error.message}") from error
        except BaseException:
            await self.aclose()
            raise
        self._query.answered(index)
        self._take(found)
        return self._read

    async def changes(self) -> AsyncGenerator[IntentionsByDestination, None]:
        """Yield the intentions after each change, until closed."""
        published = self._read
        following = asyncio.create_task(follow("the intentions of Consul", self._query, self._ask, self._take))
        try:
            while True:
                self._changed.clear()
                if self._read != published:
                    published = self._read
                    yield published
                await self._changed.wait()
        finally:
            following.cancel()
            await asyncio.wait([following])

    async def _ask(self, query: Query) -> tuple[int, tuple[IntentionsByDestination, frozenset[str]]]:
        index = await await_intentions(self._client, query)
        # By the names in certificates: those of registrations differ for components with capitals.
        found = await read_intentions(self._client, self._destinations)
        read = {name: rules_of(name, entries, allowed=allowed) for name, (entries, allowed) in found.items()}
        remarks = frozenset(remark for _, said in read.values() for remark in said)
        return index, ({component: rules for component, (rules, _) in read.items()}, remarks)

    def _take(self, found: tuple[IntentionsByDestination, frozenset[str]]) -> str:
        self._read, remarks = found
        for remark in sorted(remarks - self._remarks):
            _logger.warning("%s", remark)
        self._remarks = remarks
        self._changed.set()
        return ""
