"""How often an instance is registered again: an agent of a few lines, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf

import pytest

from meshcore.core.errors import Code, CommunicationError
from meshcore.core.instances import ChannelAddress, Instance
from meshcore.registry.consul.api.types import AgentHealth, CheckState, Registration
from meshcore.registry.consul.health_probe import CheckResult
from meshcore.registry.consul.heartbeat import Heartbeat
from meshcore.testing import run_virtually

INSTANCE = Instance("one", "orders", (ChannelAddress("rest", "http://h:1"),), health="http://h:1/health")


class Agent:
    """Knows one instance, and removes it after a minute of critical; that minute begins anew when it is registered.

    Attributes:
        status: of the instance, as its health URL has it.
        registered: when, and as what.
    """

    def __init__(self) -> None:
        self.status = "passing"
        self.registered: list[tuple[float, str]] = []
        self._since = inf
        self._known = False

    async def register(self, service: Registration) -> None:
        self.registered.append((self._now(), service.check.status))
        self._known, self._since = True, inf
        self._judge()

    async def agent_health(self, service: str) -> AgentHealth | None:
        self._judge()
        return AgentHealth([CheckState(f"{service}:http", self.status)] if self._known else [])

    async def update_check(self, check: str, status: str, output: str = "") -> None:
        self._judge()
        if not self._known:
            raise CommunicationError(Code.NOT_FOUND, check)

    async def ask(self) -> CheckResult:
        """As the instance's own look at its health."""
        return CheckResult(self.status)

    def _judge(self) -> None:
        self._since = min(self._since, self._now()) if self.status == "critical" else inf
        if self._now() - self._since > 60.0:
            self._known = False

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.mark.parametrize("check", ["http", "ttl"])
def test_an_instance_that_lives_stays_registered_while_it_is_critical(check, caplog):
    """It is registered anew before Consul's minute is over, as critical, and not while it passes."""

    async def ten_minutes() -> Agent:
        agent = Agent()
        heartbeat = Heartbeat(agent, INSTANCE, check)
        heartbeat._probe = agent
        with suppress(TimeoutError):
            async with asyncio.timeout(600.0):
                async with asyncio.TaskGroup() as group:
                    group.create_task(heartbeat.beat())
                    await asyncio.sleep(200.0)
                    agent.status = "critical"
                    await asyncio.sleep(200.0)
                    agent.status = "passing"
        return agent

    agent = run_virtually(ten_minutes())
    (first, status), *others = agent.registered
    assert (first < 1.0, status) == (True, "passing")
    assert [status for _, status in others] == ["critical"] * 4
    assert all(200.0 < at < 400.0 for at, _ in others)
    assert caplog.text.count("Consul has lost") == 1  # at first it knew nobody
