"""What Consul's HTTP API takes and gives, as far as it is used here."""

from __future__ import annotations

from typing import Any

import msgspec


class Weights(msgspec.Struct, frozen=True, rename="pascal"):
    """The share of a service's calls while it passes, and while it warns."""

    passing: int = 1
    warning: int = 1


class Check(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """A check that is registered with its service. Durations are in Go's form, as in "3s".

    The status has no default, as defaults are not sent, and Consul's own is critical.
    """

    check_id: str = msgspec.field(name="CheckID")
    status: str
    name: str = ""
    ttl: str = msgspec.field(name="TTL", default="")
    http: str = msgspec.field(name="HTTP", default="")
    interval: str = ""
    timeout: str = ""
    tls_skip_verify: bool = msgspec.field(name="TLSSkipVerify", default=False)
    deregister_critical_service_after: str = ""


class Registration(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """A service that an agent is told of."""

    id: str = msgspec.field(name="ID")
    name: str
    address: str = ""
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    weights: Weights = Weights()
    check: Check


class Node(msgspec.Struct, frozen=True, rename="pascal"):
    """The machine of an agent."""

    node: str
    address: str = ""


class ServiceEntry(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """A service as it is found."""

    id: str = msgspec.field(name="ID")
    service: str
    tags: list[str] | None = None
    meta: dict[str, str] | None = None
    weights: Weights = Weights()


class CheckState(msgspec.Struct, frozen=True, rename="pascal"):
    """How a check stands: passing, warning, critical, or maintenance in its name."""

    check_id: str = msgspec.field(name="CheckID")
    status: str
    output: str = ""


class Standing(msgspec.Struct, frozen=True, rename="pascal"):
    """How a service stands with its agent."""

    checks: list[CheckState] | None = None


class HealthEntry(msgspec.Struct, frozen=True, rename="pascal"):
    """A service with its node, and the checks of both."""

    node: Node
    service: ServiceEntry
    checks: list[CheckState]


class CheckRow(msgspec.Struct, frozen=True, gc=False):
    """A check as it is found among those of all services.

    Attributes:
        node: where it is.
        check_id: unique on its node.
        service: the name of its service, empty if it is of the node itself.
        made: the index under which it was registered.
        changed: the index of its last change.
    """

    node: str = msgspec.field(name="Node")
    check_id: str = msgspec.field(name="CheckID")
    service: str = msgspec.field(name="ServiceName")
    made: int = msgspec.field(name="CreateIndex")
    changed: int = msgspec.field(name="ModifyIndex")


class Health(msgspec.Struct, frozen=True):
    """The answer to a (blocking) query for a service.

    Attributes:
        index: to block on next.
        leader: whether the server knows its leader.
        entries: all registrations, whatever their health.
    """

    index: int
    leader: bool
    entries: list[HealthEntry]


class AgentSelf(msgspec.Struct, frozen=True, rename="pascal"):
    """What an agent says of itself."""

    config: dict[str, Any]


class Question(msgspec.Struct, frozen=True, rename="pascal"):
    """Whether a token may do something with what is called so, or begins so."""

    resource: str
    access: str
    segment: str


class Permission(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer to that."""

    allow: bool


class Pair(msgspec.Struct, frozen=True, rename="pascal"):
    """A key with its value, in base 64 on the wire."""

    key: str
    value: bytes | None = None
    modify_index: int = 0


class Tree(msgspec.Struct, frozen=True):
    """The answer to a (blocking) query for all keys below a prefix; index and leader as in `Health`."""

    index: int
    leader: bool
    pairs: list[Pair]
