"""A cluster of three Consul servers whose members and connections fail, while a client calls two servers without pause.

The times of each scene are properties of its test, and printed with `-rP`.
"""

from __future__ import annotations

import asyncio

import pytest

from meshcore.testing import consul_agent, consul_cluster
from tests.integration.consul import namespaces
from tests.integration.consul.cluster_scene import client_cut_off, cluster_scene, relay, settle, until_passing
from tests.integration.consul.scene import CACHE

pytestmark = pytest.mark.long

# Where no namespaces can be made, a relay alone has to do.
STARTERS = [None, *filter(None, [namespaces.command()])]


@pytest.fixture
def times(record_property):
    """Keeps and prints seconds, by name."""

    def keep(**seconds: float) -> None:
        for name, each in seconds.items():
            record_property(name, round(each, 3))
            print(f"{name}: {each:.2f} s")  # noqa: T201 - what `-rP` shows

    return keep


@pytest.mark.parametrize("on_leader", [True, False], ids=["that was asked", "behind another server"])
async def test_the_leader_is_killed(tmp_path, times, on_leader):
    """No call fails; the watch is live again with the new leader, and who starts meanwhile is found."""
    async with consul_cluster(cache=CACHE) as cluster:
        (agent,) = cluster.clients
        leader = await settle(cluster, agent, on_leader=on_leader)
        async with cluster_scene(tmp_path, [agent, agent], agent) as acted:
            acted.begin()
            await leader.kill()
            if on_leader:
                times(lost=await acted.until_lost(5))
            async with acted.newcomer(agent):
                times(live=await acted.until_live(), known=await acted.until_known(3))
                assert acted.seconds < 30


async def test_the_quorum_is_lost(tmp_path, times):
    """No call fails, who starts meanwhile is found when a leader is back."""
    async with consul_cluster(cache=CACHE) as cluster:
        (agent,) = cluster.clients
        leader = await settle(cluster, agent, on_leader=True)
        async with cluster_scene(tmp_path, [agent, agent], agent) as acted:
            # None of the followers there are now: one of them may be this leader, if another was elected since.
            gone = [leader, next(each for each in cluster.servers if each is not leader)]
            acted.begin()
            await asyncio.gather(*(each.kill() for each in gone))
            times(lost=await acted.until_lost(5))
            async with acted.newcomer(agent):
                await asyncio.sleep(8)  # longer than a server holds what only a leader can do
                await acted.load.more()
                assert acted.known == 2
                acted.begin()
                await asyncio.gather(*(each.start() for each in gone))
                times(leader=acted.seconds, live=await acted.until_live(), known=await acted.until_known(3))
                await until_passing(agent, 3)
                times(passing=acted.seconds, known_passing=await acted.until_known(3))
                assert acted.seconds < 30
                await acted.load.more()


async def test_the_leader_is_frozen(tmp_path, times):
    """No call fails; others elect a new one, and only the deadline of the query ends what the old one left open."""
    async with consul_cluster(cache=CACHE, clients=2) as cluster:
        agent, other = cluster.clients
        leader = await settle(cluster, agent, on_leader=True)
        while await settle(cluster, other, on_leader=False) is not leader:  # another was elected meanwhile
            leader = await settle(cluster, agent, on_leader=True)
        async with cluster_scene(tmp_path, [agent, other], agent) as acted:
            acted.begin()
            leader.freeze()
            assert await cluster.leader() is not leader
            times(leader=acted.seconds)
            async with acted.newcomer(other):
                times(lost=await acted.until_lost(), live=await acted.until_live(), known=await acted.until_known(3))
                await acted.load.more()
                leader.thaw()
                assert await cluster.leader() is not leader
            await acted.until_known(2)
            async with acted.newcomer(agent) as newcomer:
                await newcomer.until_ready()
                acted.begin()
                times(known_after_thaw=await acted.until_known(3))
                assert acted.seconds < 10


async def test_agents_die(tmp_path, times):
    """No call fails when the agent of a living server dies; without any that passes, all are asked."""
    async with consul_cluster(cache=CACHE, clients=3) as cluster:
        one, other, agent = cluster.clients
        async with cluster_scene(tmp_path, [one, other], agent) as acted:
            acted.begin()
            await one.kill()
            times(one_left=await acted.until_known(1))
            await acted.load.more()
            acted.begin()
            await other.kill()
            times(all_asked=await acted.until_known(2))
            await acted.load.more()
            acted.begin()
            await asyncio.gather(one.start(), other.start())
            await until_passing(agent, 2)
            times(passing=acted.seconds, known=await acted.until_known(2))


async def test_servers_are_cut_off_from_their_agent(tmp_path, times):
    """Servers whose heartbeats do not arrive are critical: the others are asked, and all if there are no others."""
    async with (
        consul_agent(cache=CACHE) as agent,
        relay(agent) as one,
        relay(agent) as other,
        cluster_scene(tmp_path, [one, other], agent, check="ttl") as acted,
    ):
        acted.begin()
        one.cut()
        times(one_left=await acted.until_known(1))
        await acted.load.more()
        acted.begin()
        other.cut()
        times(all_asked=await acted.until_known(2))
        await acted.load.more()
        acted.begin()
        one.heal()
        other.heal()
        await until_passing(agent, 2)
        times(passing=acted.seconds, known=await acted.until_known(2))


@pytest.mark.parametrize("starter", STARTERS, ids=["by a relay", "by the network"][: len(STARTERS)])
async def test_the_client_is_cut_off(tmp_path, times, starter):
    """Only the deadline of the query tells; no call fails, and who starts meanwhile is found when the way is free."""
    if starter is None:
        async with consul_agent(cache=CACHE) as agent, relay(agent) as way:
            found = await client_cut_off(tmp_path, agent, way)
    else:
        found = await namespaces.run(starter, tmp_path)
    times(**found)
    assert 5 < found["lost"] < 30
    # Mostly at once. A query that left just before the way was free ends by its own 10 s, and a pause of 5 follows.
    assert found["known"] < 25
