"""All instances of a registry at one moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from meshcore.core.instances import Instance

Snapshot: TypeAlias = Mapping[str, tuple[Instance, ...]]
"""Instances by component, ordered by id. Components without instances are left out."""


def snapshot_of(instances: Iterable[Instance]) -> Snapshot:
    """Group instances by component. Of several with the same id, the last is taken."""
    found: defaultdict[str, dict[str, Instance]] = defaultdict(dict)
    for instance in instances:
        found[instance.component][instance.id] = instance
    return {
        component: tuple(sorted(by_id.values(), key=lambda instance: instance.id)) for component, by_id in found.items()
    }
