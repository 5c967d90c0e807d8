"""The Consul registry against real agents that stop, freeze, forget and come back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meshcore.testing import check_registry, consul_agent
from meshcore.testing.consul_binary import find_consul
from registry import ConsulComponentRegistry

CACHE = Path(__file__).parents[2] / ".cache"


async def test_agents_run_side_by_side():
    """Several agents are ready at once, on ports of their own, and their processes end with the context."""
    async with consul_agent(cache=CACHE) as one, consul_agent(cache=CACHE) as two:
        assert one.url != two.url
        processes = one.process, two.process
    assert all(process.returncode is not None for process in processes)


def test_no_program_and_no_mirror_is_a_clear_failure(tmp_path, monkeypatch):
    """Without consul and without apt the text says what is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"need the program `consul`.*PATH.*apt"):
        find_consul(tmp_path)


async def test_an_agent_that_cannot_start_says_why():
    """A wrong configuration is an error with what the agent printed."""
    with pytest.raises(RuntimeError, match="no_such_key"):
        async with asyncio.timeout(20), consul_agent(cache=CACHE, config={"no_such_key": 1}):
            pass


async def test_the_consul_registry_conforms():
    """The Consul registry passes the kit with two objects on one agent."""
    async with consul_agent(cache=CACHE) as agent:
        await check_registry(lambda: ConsulComponentRegistry(agent.url))
