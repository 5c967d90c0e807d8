"""Keeps one instance registered with an agent that may stop, freeze, forget and come back."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

import anyio

from meshcore.errors import Code, CommunicationError, MeshError
from registry.consul_entries import TTL, check_id, registration_of, service_id

if TYPE_CHECKING:
    from meshcore.instances import Instance
    from registry.consul_client import ConsulClient

_logger = logging.getLogger(__name__)

_EVERY = TTL / 3
_RETRY = (0.1, 0.3)  # an agent that is back without its data should know us within a second
_VISIBLE = 2.0
_GOODBYE = 3.0


class Heartbeat:
    """One registered instance.

    A heartbeat, and no check that Consul makes: it needs no way from the agent to the process, and it runs on the event
    loop that serves, so it also tells of a process that hangs.
    """

    def __init__(self, client: ConsulClient, instance: Instance) -> None:
        self._client = client
        self._instance = instance
        self._registration = registration_of(instance)
        self._id = service_id(instance)
        self._taken = False

    async def begin(self) -> None:
        """Register, and return when it can be found.

        Raises:
            CommunicationError: the agent did not take it.
            AuthorizationError: the token does not allow it.
        """
        # An id that is there already keeps its status, critical or in maintenance, whatever the registration says.
        await self._client.deregister(self._id)
        await self._register()
        if not await self._visible():
            # The agent has it, and will tell the others as soon as it can.
            _logger.warning("%s is registered, but Consul does not list it yet", self._who())

    async def beat(self) -> None:
        """Go on for ever; whatever goes wrong is tried again."""
        failing = False
        while True:
            await asyncio.sleep(random.uniform(*_RETRY) if failing else _EVERY * random.uniform(0.9, 1.0))
            try:
                await self._beat_once()
            except MeshError as error:
                if not failing:
                    _logger.warning("%s may become invisible, trying again: %s", self._who(), error)
                failing = True
            except Exception:
                # Whatever it is, an instance must not vanish for a mistake in its heartbeat.
                _logger.exception("the heartbeat of %s failed, trying again", self._who())
                failing = True
            else:
                if failing:
                    _logger.warning("%s is registered again", self._who())
                failing = False

    async def end(self) -> None:
        """Deregister; also from a task that was cancelled. If that fails, Consul forgets the instance by itself."""
        problem = "the agent does not answer"
        with anyio.move_on_after(_GOODBYE, shield=True):
            try:
                await self._client.deregister(self._id)
            except MeshError as error:
                problem = error.message
            else:
                return
        if self._taken:
            _logger.warning("%s was not withdrawn, Consul will find out in %g s: %s", self._who(), TTL, problem)

    async def _beat_once(self) -> None:
        try:
            await self._client.update_check(check_id(self._instance), "passing")
        except CommunicationError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            _logger.warning("Consul has forgotten %s, which is registered again", self._who())
            await self._register()

    async def _register(self) -> None:
        await self._client.register(self._registration)
        self._taken = True
        # A check that only ever had its first status is critical when the agent restarts.
        await self._client.update_check(check_id(self._instance), "passing")

    async def _visible(self) -> bool:
        """Whether it can be found, soon."""
        index = 0
        try:
            async with asyncio.timeout(_VISIBLE):
                while True:
                    found = await self._client.health(self._registration.name, index=index, wait=_VISIBLE)
                    if any(entry.service.id == self._id for entry in found.entries):
                        return True
                    index = max(1, found.index)
        except (TimeoutError, MeshError):
            return False

    def _who(self) -> str:
        return f"{self._instance.id} of {self._instance.component}"
