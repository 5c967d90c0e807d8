"""Conformance kits for the ports: an adapter's test is one call of the kit, plus what is the adapter's own.

And virtual time, for tests of what waits.
"""

from meshcore.testing.channel_kit import check_channel
from meshcore.testing.registry_kit import check_fixed_registry, check_registry
from meshcore.testing.virtual import VirtualLoop, run_virtually
from meshcore.testing.watcher import Watcher, watching

__all__ = [
    "VirtualLoop",
    "Watcher",
    "check_channel",
    "check_fixed_registry",
    "check_registry",
    "run_virtually",
    "watching",
]
