"""For tests: a mesh in memory, fault injection, virtual time, a value source, and real Consul agents.

Also conformance kits for the ports. The test of an adapter is one call of a kit, and tests of what is special to it.
"""

from typing import TYPE_CHECKING

from meshcore.core.lazy import lazy_names

if TYPE_CHECKING:
    from meshcore.testing.consul.agent import ConsulAgent, consul_agent
    from meshcore.testing.consul.cluster import ConsulCluster, consul_cluster
    from meshcore.testing.faults import Fault, Faults, with_faults
    from meshcore.testing.kits.channel_kit import check_channel
    from meshcore.testing.kits.registry_kit import check_fixed_registry, check_registry
    from meshcore.testing.kits.selector_kit import check_selector
    from meshcore.testing.memory import MemoryMesh, MeshFactory, memory_mesh
    from meshcore.testing.values import MemoryValueSource
    from meshcore.testing.virtual_time import VirtualLoop, run_virtually
    from meshcore.testing.watcher import Watcher, watching

__all__ = [
    "ConsulAgent",
    "ConsulCluster",
    "Fault",
    "Faults",
    "MemoryMesh",
    "MemoryValueSource",
    "MeshFactory",
    "VirtualLoop",
    "Watcher",
    "check_channel",
    "check_fixed_registry",
    "check_registry",
    "check_selector",
    "consul_agent",
    "consul_cluster",
    "memory_mesh",
    "run_virtually",
    "watching",
    "with_faults",
]

if not TYPE_CHECKING:
    # The pytest plugin imports this package at each start of pytest.
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "consul.agent": "ConsulAgent consul_agent",
            "consul.cluster": "ConsulCluster consul_cluster",
            "faults": "Fault Faults with_faults",
            "kits.channel_kit": "check_channel",
            "kits.registry_kit": "check_fixed_registry check_registry",
            "kits.selector_kit": "check_selector",
            "memory": "MemoryMesh MeshFactory memory_mesh",
            "values": "MemoryValueSource",
            "virtual_time": "VirtualLoop run_virtually",
            "watcher": "Watcher watching",
        },
    )
