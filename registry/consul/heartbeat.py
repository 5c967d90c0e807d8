"""Keeps one instance registered with an agent that may stop, freeze, forget and come back."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio

from meshcore.core.errors import AuthorizationError, Code, CommunicationError, MeshError

from .api.rights import why_hidden
from .entries import (
    INTERVAL,
    TIMEOUT,
    TTL,
    check_id,
    checked_by_agent,
    registration_of,
    service_id,
    service_name,
)
from .own_health import CRITICAL, PASSING, OwnHealth, Verdict

if TYPE_CHECKING:
    from meshcore.core.instances import Instance

    from .api.client import ConsulClient
    from .api.types import CheckState

_logger = logging.getLogger(__name__)

_EVERY = TTL / 3
_RETRY = (0.1, 0.3)  # an agent that is back without its data should know us within a second
_VISIBLE = 2.0
_GOODBYE = 3.0
_RENEWED = 40.0  # of the minute that an instance may be critical before Consul removes it
_SURE = 3  # beats in a row, before the agent is said not to reach us


class Heartbeat:
    """One registered instance.

    The process tells its health to the agent, or the agent asks for it. Either tells of a process that hangs: the
    heartbeat runs on the event loop that serves, and so does the answer to the agent. Where the agent asks, a beat is
    only a look whether it still knows the instance. It is no registration anew: that restarts the agent's check at a
    random moment of its interval (ten a second and it hardly ever runs), and wakes all who watch.

    Args:
        client: of the agent.
        instance: what is registered.
        check: of `ConsulConfig`.
    """

    def __init__(self, client: ConsulClient, instance: Instance, check: str) -> None:
        self._client = client
        self._instance = instance
        self._check = check
        self._asked = checked_by_agent(instance, check)
        self._id = service_id(instance)
        self._check_id = check_id(instance, check)
        self._own = OwnHealth(instance.health, TIMEOUT) if instance.health else None
        self._stack = AsyncExitStack()
        self._last = Verdict(PASSING)
        self._taken = False
        self._clear = 0.0  # when it last was not critical, or was registered, which begins Consul's minute anew
        self._unreached = 0

    async def begin(self) -> None:
        """Register, and return when it can be found.

        Raises:
            CommunicationError: the agent did not take it.
            AuthorizationError: the token does not allow it.
            LocalError: it does not fit into Consul.
        """
        registration_of(self._instance)
        if self._own is not None:
            await self._stack.enter_async_context(self._own)
        # An id that is there already keeps its status, critical or in maintenance, whatever the registration says.
        await self._client.deregister(self._id)
        await self._register()
        doubt = await self._visible()
        if doubt:
            _logger.warning("%s is registered, but %s", self._who(), doubt)

    async def beat(self) -> None:
        """Go on for ever; whatever goes wrong is tried again."""
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            begun = loop.time()
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
            pause = random.uniform(*_RETRY) if failing else begun + _EVERY * random.uniform(0.9, 1.0) - loop.time()
            await asyncio.sleep(max(0.0, pause))

    async def end(self) -> None:
        """Deregister; also from a task that was cancelled. If that fails, Consul forgets the instance by itself."""
        problem = "the agent does not answer"
        with anyio.move_on_after(_GOODBYE, shield=True):
            await self._stack.aclose()
            # Not maintenance first: either wakes who watches after 1.3 to 1.5 ms (at most 3 to 5), and the calls that
            # they send until then are served, as the server drains later. One request less can fail.
            try:
                await self._client.deregister(self._id)
            except MeshError as error:
                problem = error.message
            else:
                return
        if self._taken:
            seconds = INTERVAL + TIMEOUT if self._asked else TTL
            _logger.warning("%s was not withdrawn, Consul will find out in %g s: %s", self._who(), seconds, problem)

    async def _beat_once(self) -> None:
        known = await (self._look() if self._asked else self._report())
        if not known:
            _logger.warning("Consul has forgotten %s, which is registered again", self._who())
            await self._register()
        elif self._last.status != CRITICAL:
            self._clear = asyncio.get_running_loop().time()
        elif asyncio.get_running_loop().time() > self._clear + _RENEWED:
            # Removed, it would be gone from all clients until the next beat, though it lives. Its status stays.
            await self._register()

    async def _report(self) -> bool:
        """Tell the agent how we are; whether it knows us."""
        if self._own is not None:
            self._last = await self._own.ask() or Verdict(PASSING)
        try:
            await self._client.update_check(self._check_id, *self._last)
        except CommunicationError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            return False
        return True

    async def _look(self) -> bool:
        """See what the agent found; whether it knows us."""
        standing = await self._client.standing(self._id)
        found = [check for check in (standing.checks or () if standing else ()) if check.check_id == self._check_id]
        if not found:
            return False
        self._last = Verdict(found[0].status)
        await self._doubt(found[0])
        return True

    async def _doubt(self, check: CheckState) -> None:
        """Say so if the agent cannot reach us and we can: that is the network between, and not our health."""
        # What an answer said begins with "HTTP GET"; this is an error of the agent's HTTP client.
        if check.status != CRITICAL or not check.output.startswith("Get "):
            self._unreached = 0
            return
        self._unreached += 1
        if self._unreached == _SURE and self._own is not None:
            verdict = await self._own.ask()
            if verdict is not None and verdict.status != CRITICAL:
                _logger.error(
                    "%s is critical in Consul, as the agent cannot reach it although it serves: %s. If that is how the "
                    'network is, let instances report their health themselves: consul:?check=ttl, or check="ttl"',
                    self._who(),
                    check.output,
                )

    async def _register(self) -> None:
        # What it was before is not forgotten: an instance that comes back critical must not pass for a moment.
        await self._client.register(registration_of(self._instance, self._check, self._last.status))
        self._taken = True
        self._clear = asyncio.get_running_loop().time()
        if not self._asked:
            # A check that only ever had its first status is critical when the agent restarts.
            await self._client.update_check(self._check_id, *self._last)

    async def _visible(self) -> str:
        """What keeps it from being found, soon; empty if it is."""
        name = service_name(self._instance.component)
        index = 0
        try:
            async with asyncio.timeout(_VISIBLE):
                while True:
                    found = await self._client.health(name, index=index, wait=_VISIBLE)
                    if any(entry.service.id == self._id for entry in found.entries):
                        return ""
                    if why := await why_hidden(self._client, name, found):
                        return f"whoever has no other token than this process finds nobody: {why}"
                    index = max(1, found.index)
        except AuthorizationError as error:
            return f"whoever has no other token than this process finds nobody: {error.message}"
        except (TimeoutError, MeshError):
            # The agent has it, and will tell the others as soon as it can.
            return "Consul does not list it yet"

    def _who(self) -> str:
        return f"{self._instance.id} of {self._instance.component}"
