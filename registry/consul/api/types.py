"""The request and response bodies of Consul's HTTP API, with the fields that are used."""

from __future__ import annotations

from typing import Any

import msgspec


class Weights(msgspec.Struct, frozen=True, rename="pascal"):
    """The weights of a service for Consul's DNS, while its checks pass and while one warns."""

    passing: int = 1
    warning: int = 1


class Check(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """A check that is registered with its service. Durations have Go's form, such as "3s".

    The status has no default: defaults are not sent, and Consul's own default is critical.
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
    """A service to register."""

    id: str = msgspec.field(name="ID")
    name: str
    address: str = ""
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    weights: Weights = Weights()
    check: Check


class Node(msgspec.Struct, frozen=True, rename="pascal"):
    """A node: the machine of an agent."""

    node: str
    address: str = ""


class ServiceEntry(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """A registered service."""

    id: str = msgspec.field(name="ID")
    service: str
    tags: list[str] | None = None
    meta: dict[str, str] | None = None
    weights: Weights = Weights()


class CheckState(msgspec.Struct, frozen=True, rename="pascal"):
    """A check and its status: passing, warning or critical. The check of maintenance mode is critical."""

    check_id: str = msgspec.field(name="CheckID")
    status: str
    output: str = ""


class AgentHealth(msgspec.Struct, frozen=True, rename="pascal"):
    """The checks of a service, as its agent has them."""

    checks: list[CheckState] | None = None


class HealthEntry(msgspec.Struct, frozen=True, rename="pascal"):
    """A service with its node, and the checks of both."""

    node: Node
    service: ServiceEntry
    checks: list[CheckState]


class CheckRow(msgspec.Struct, frozen=True, gc=False):
    """A check in a list of the checks of all services.

    Attributes:
        node: its node.
        check_id: its id, which is unique on its node.
        service: the name of its service; empty for a check of the node.
        made: the index of its registration.
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
        index: X-Consul-Index.
        leader: whether the server knows its leader.
        entries: all registrations, of any health.
    """

    index: int
    leader: bool
    entries: list[HealthEntry]


class AgentSelf(msgspec.Struct, frozen=True, rename="pascal"):
    """The description of an agent."""

    config: dict[str, Any]


class AuthorizationRequest(msgspec.Struct, frozen=True, rename="pascal"):
    """The question whether a token has a right on a resource with this name or prefix."""

    resource: str
    access: str
    segment: str


class AuthorizationResponse(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer to an `AuthorizationRequest`."""

    allow: bool


class Pair(msgspec.Struct, frozen=True, rename="pascal"):
    """A key with its value, which is base64 on the wire."""

    key: str
    value: bytes | None = None
    modify_index: int = 0


class Tree(msgspec.Struct, frozen=True):
    """The answer to a (blocking) query for all keys with a prefix. Index and leader are as in `Health`."""

    index: int
    leader: bool
    pairs: list[Pair]
