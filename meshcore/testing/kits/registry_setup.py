"""What the clauses of the registry kit share: two registries on one store, and instances to announce."""

from __future__ import annotations

from typing import NamedTuple
from uuid import uuid4

from meshcore.core.instances import ChannelAddress, Instance
from meshcore.ports.registry import ComponentRegistry


class Setup(NamedTuple):
    """Two registries on one store, and the time limit of a change."""

    announcer: ComponentRegistry
    watcher: ComponentRegistry
    seconds: float


def new_component() -> str:
    """Return a unique name for a component."""
    return f"kit-{uuid4().hex[:12]}"


def new_instance(component: str) -> Instance:
    """Return an instance with a unique id."""
    return Instance(uuid4().hex, component, (ChannelAddress("rest", "http://127.0.0.1:8000"),))


def equal(found: object, expected: object, what: str) -> None:
    """Raise an AssertionError with both values, unless they are equal."""
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {found!r}")
