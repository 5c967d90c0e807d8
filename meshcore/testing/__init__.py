"""Conformance kits for the ports: an adapter's test is one call of the kit, plus what is the adapter's own.

And virtual time, for tests of what waits, a source of values, and real Consul agents, alone or as a cluster.
"""

from meshcore.testing.channel_kit import check_channel
from meshcore.testing.consul import ConsulAgent, consul_agent
from meshcore.testing.consul_cluster import ConsulCluster, consul_cluster
from meshcore.testing.memory_values import MemoryValueSource
from meshcore.testing.registry_kit import check_fixed_registry, check_registry
from meshcore.testing.virtual import VirtualLoop, run_virtually
from meshcore.testing.watcher import Watcher, watching

__all__ = [
    "ConsulAgent",
    "ConsulCluster",
    "MemoryValueSource",
    "VirtualLoop",
    "Watcher",
    "check_channel",
    "check_fixed_registry",
    "check_registry",
    "consul_agent",
    "consul_cluster",
    "run_virtually",
    "watching",
]
