"""Keeps the intentions of a source beside the rules, and takes over each change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from meshcore.core.errors import ConfigurationError
from meshcore.ports.intentions import IntentionError, IntentionsByDestination, IntentionSource
from meshcore.security.authorization.guard import Authorization

log = logging.getLogger(__name__)


class FollowedIntentions:
    """Reads intentions when it is entered, and follows them until it is left.

    Args:
        source: of the intentions.
        destinations: the components that this process serves.
        authorization: judges by them.
    """

    def __init__(self, source: IntentionSource, destinations: Sequence[str], authorization: Authorization) -> None:
        self._source = source
        self._destinations = tuple(destinations)
        self._authorization = authorization
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Read the first intentions.

        Raises:
            ConfigurationError: they cannot be read. To start without them could let in who is denied.
        """
        try:
            self._take(await self._source.open(self._destinations))
        except IntentionError as error:
            await self._source.aclose()
            raise ConfigurationError("The intentions cannot be used", [str(error)]) from error
        except BaseException:
            await self._source.aclose()
            raise
        self._following = asyncio.create_task(self._follow(), name="meshcore.security.authorization.intentions")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        await self._source.aclose()

    async def _follow(self) -> None:
        async for intentions in self._source.changes():
            self._take(intentions)
            log.info("took over new intentions")

    def _take(self, intentions: IntentionsByDestination) -> None:
        self._authorization.intentions = intentions
        self._authorization.tell()
