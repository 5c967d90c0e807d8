"""Keeps one instance registered with an agent that may stop, freeze, restart or lose its data."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio

from meshcore.core.errors import AuthorizationError, Code, CommunicationError, MeshError

from .api.acl import why_hidden
from .health_probe import CRITICAL, PASSING, CheckResult, HealthProbe
from .registrations import (
    INTERVAL,
    TIMEOUT,
    TTL,
    check_id,
    checked_by_agent,
    registration_of,
    service_id,
    service_name,
)

if TYPE_CHECKING:
    from meshcore.core.instances import Instance

    from .api.client import ConsulClient
    from .api.types import CheckState

_logger = logging.getLogger(__name__)

_INTERVAL = TTL / 3
_RETRY = (0.1, 0.3)  # short, so that an agent that has lost its data knows the instance again within a second
_VISIBLE_TIMEOUT = 2.0
_DEREGISTER_TIMEOUT = 3.0
_RENEW_AFTER = 40.0  # of being critical: Consul removes an instance that is critical for a minute
_UNREACHED_BEATS = 3  # in a row, before a warning that the agent cannot reach the instance


class Heartbeat:
    """Registers one instance and keeps it registered.

    With a TTL check, each beat reports the health of the instance. With an HTTP check, the agent asks for it, and a
    beat only reads whether the agent still has the registration. Both detect a process that hangs, since beats and the
    answers to the agent run on the event loop that serves calls. A beat does not register again: that would restart the
    HTTP check at a random moment of its interval (at ten times a second it hardly ever runs), and wake all watches.

    Args:
        client: a client of the agent.
        instance: the instance.
        check: as in `ConsulConfig`.
    """

    def __init__(self, client: ConsulClient, instance: Instance, check: str) -> None:
        self._client = client
        self._instance = instance
        self._check = check
        self._by_agent = checked_by_agent(instance, check)
        self._id = service_id(instance)
        self._check_id = check_id(instance, check)
        self._probe = HealthProbe(instance.health, TIMEOUT) if instance.health else None
        self._stack = AsyncExitStack()
        self._last = CheckResult(PASSING)
        self._registered = False
        self._renewed = 0.0  # when it was registered, or last not critical: the start of the minute until its removal
        self._unreached = 0

    async def begin(self) -> None:
        """Register the instance, and return when clients can find it.

        Raises:
            CommunicationError: the agent does not answer, or refuses.
            AuthorizationError: the token does not allow it.
            LocalError: the instance does not fit into Consul.
        """
        registration_of(self._instance)
        if self._probe is not None:
            await self._stack.enter_async_context(self._probe)
        # A registration under an existing id would keep the old status, such as critical or in maintenance.
        await self._client.deregister(self._id)
        await self._register()
        problem = await self._until_visible()
        if problem:
            _logger.warning("%s is registered, but %s", self._label(), problem)

    async def beat(self) -> None:
        """Beat until cancelled. Errors are logged and retried."""
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            begun = loop.time()
            try:
                await self._beat_once()
            except MeshError as error:
                if not failing:
                    _logger.warning("%s may be removed from Consul, retrying: %s", self._label(), error)
                failing = True
            except Exception:
                # An instance must not vanish because of a bug in its heartbeat.
                _logger.exception("unexpected error in the heartbeat of %s, retrying", self._label())
                failing = True
            else:
                if failing:
                    _logger.warning("%s is registered again", self._label())
                failing = False
            pause = random.uniform(*_RETRY) if failing else begun + _INTERVAL * random.uniform(0.9, 1.0) - loop.time()
            await asyncio.sleep(max(0.0, pause))

    async def end(self) -> None:
        """Deregister, also in a cancelled task. If that fails, the checks of the instance will fail."""
        problem = "the agent does not answer"
        with anyio.move_on_after(_DEREGISTER_TIMEOUT, shield=True):
            await self._stack.aclose()
            # Without maintenance mode first. Either wakes the watches after 1.3 to 1.5 ms (at most 3 to 5), and calls
            # that are sent until then are served, since the server drains later. One request less can fail.
            try:
                await self._client.deregister(self._id)
            except MeshError as error:
                problem = error.message
            else:
                return
        if self._registered:
            seconds = INTERVAL + TIMEOUT if self._by_agent else TTL
            text = "%s could not be deregistered, its check will fail within %g s: %s"
            _logger.warning(text, self._label(), seconds, problem)

    async def _beat_once(self) -> None:
        known = await (self._read_check() if self._by_agent else self._report())
        if not known:
            _logger.warning("Consul has lost %s, registering it again", self._label())
            await self._register()
        elif self._last.status != CRITICAL:
            self._renewed = asyncio.get_running_loop().time()
        elif asyncio.get_running_loop().time() > self._renewed + _RENEW_AFTER:
            # Otherwise Consul removes it, and all clients lose a live instance until the next beat. It stays critical.
            await self._register()

    async def _report(self) -> bool:
        """Report the health to the agent. Returns whether the agent has the registration."""
        if self._probe is not None:
            self._last = await self._probe.ask() or CheckResult(PASSING)
        try:
            await self._client.update_check(self._check_id, *self._last)
        except CommunicationError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            return False
        return True

    async def _read_check(self) -> bool:
        """Read the result of the agent's check. Returns whether the agent has the registration."""
        health = await self._client.agent_health(self._id)
        found = [check for check in (health.checks or () if health else ()) if check.check_id == self._check_id]
        if not found:
            return False
        self._last = CheckResult(found[0].status)
        await self._check_reachable(found[0])
        return True

    async def _check_reachable(self, check: CheckState) -> None:
        """Log an error if the agent cannot reach the health URL but this process can."""
        # "Get ..." is an error of the agent's HTTP client. The output for a response begins with "HTTP GET".
        if check.status != CRITICAL or not check.output.startswith("Get "):
            self._unreached = 0
            return
        self._unreached += 1
        if self._unreached == _UNREACHED_BEATS and self._probe is not None:
            result = await self._probe.ask()
            if result is not None and result.status != CRITICAL:
                _logger.error(
                    "%s is critical in Consul, since the agent cannot reach its health URL, but this process can: %s. "
                    "If the network does not allow that, let instances report their health: consul:?check=ttl, or "
                    'check="ttl"',
                    self._label(),
                    check.output,
                )

    async def _register(self) -> None:
        # With the last status: a critical instance that is registered again must not pass for a moment.
        await self._client.register(registration_of(self._instance, self._check, self._last.status))
        self._registered = True
        self._renewed = asyncio.get_running_loop().time()
        if not self._by_agent:
            # After a restart of the agent, a TTL check without any report is critical.
            await self._client.update_check(self._check_id, *self._last)

    async def _until_visible(self) -> str:
        """Wait until Consul lists the instance. Returns why clients may not find it, or an empty text."""
        name = service_name(self._instance.component)
        index = 0
        try:
            async with asyncio.timeout(_VISIBLE_TIMEOUT):
                while True:
                    found = await self._client.health(name, index=index, wait=_VISIBLE_TIMEOUT)
                    if any(entry.service.id == self._id for entry in found.entries):
                        return ""
                    if why := await why_hidden(self._client, name, found):
                        return f"clients with the same token cannot find it: {why}"
                    index = max(1, found.index)
        except AuthorizationError as error:
            return f"clients with the same token cannot find it: {error.message}"
        except (TimeoutError, MeshError):
            return "Consul does not list it yet"  # the agent has it, and syncs it to the servers as soon as it can

    def _label(self) -> str:
        return f"{self._instance.id} of {self._instance.component}"
