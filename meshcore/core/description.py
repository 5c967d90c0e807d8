"""Descriptions: what an interface offers, read once from its class and immutable from then on."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from meshcore.core.policy import Policy


class _Required(msgspec.Struct, frozen=True):
    """The type of `REQUIRED`."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()
"""The default of a parameter that has none."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a method.

    Attributes:
        name: as written.
        type: resolved; marks of the mesh are taken off, constraints such as `msgspec.Meta` stay.
        keyword_only: whether it must be given by name.
        positional_only: whether it must be given by position.
        default: `REQUIRED` if it has none.
        source: where REST carries it, None if the method has no HTTP mapping.
        description: from its mark, else from the docstring.
        example: from its mark.
        alias: its name in a query or among the headers, if that is another one.
    """

    name: str
    type: Any
    keyword_only: bool = False
    positional_only: bool = False
    default: Any = REQUIRED
    source: Source | None = None
    description: str = ""
    example: Any = None
    alias: str = ""

    @property
    def required(self) -> bool:
        """Whether a caller must give it."""
        return self.default is REQUIRED

    @property
    def wire_name(self) -> str:
        """How REST calls it."""
        if self.source is Source.HEADER:
            return (self.alias or self.name.strip("_").replace("_", "-")).lower()
        return self.alias or self.name


class HttpMapping(msgspec.Struct, frozen=True):
    """How REST reaches a method.

    Attributes:
        verb: GET, POST, PUT, PATCH or DELETE.
        path: with the prefix of the interface, parameters in braces.
        tags: for documents.
        status: of an answer that is no error.
    """

    verb: str
    path: str
    tags: tuple[str, ...] = ()
    status: int = 200


class Method(msgspec.Struct, frozen=True, eq=False):
    """One method of a service. Compared by identity: a mesh describes each interface once.

    Attributes:
        service: the service's name.
        name: the method's name.
        parameters: in the order of the signature; arguments travel in this order.
        returns: the resolved return type, `None` for nothing.
        is_async: whether the interface declares it `async def`.
        idempotent: whether it may be executed again for the same call.
        shielded: whether its work goes on when the caller has left.
        idempotency_key: seconds for which a server keeps a call's outcome for its repetitions, None if it does not.
        raises: the declared exceptions, which travel.
        http: how REST reaches it, None if it does not.
        affinity: the argument whose value decides which instance is asked, None if none does.
        policy: what its interface says about its calls.
    """

    service: str
    name: str
    parameters: tuple[Parameter, ...]
    returns: Any
    is_async: bool
    idempotent: bool = False
    shielded: bool = False
    idempotency_key: float | None = None
    raises: tuple[type[Exception], ...] = ()
    http: HttpMapping | None = None
    summary: str = ""
    description: str = ""
    affinity: int | None = None
    policy: Policy | None = None

    def __str__(self) -> str:
        return f"{self.service}.{self.name}"


class ServiceDescription(msgspec.Struct, frozen=True, eq=False):
    """What a service interface offers."""

    interface: type
    name: str
    description: str
    methods: tuple[Method, ...]
    policy: Policy | None = None

    def method(self, name: str) -> Method | None:
        """The method of that name."""
        return next((method for method in self.methods if method.name == name), None)


class ComponentDescription(msgspec.Struct, frozen=True, eq=False):
    """What is deployed together.

    Attributes:
        interface: the class that was decorated with `@component`.
    """

    interface: type
    name: str
    description: str
    services: tuple[ServiceDescription, ...]
    policy: Policy | None = None


class Source(Enum):
    """Where a REST request carries a parameter."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"
    BODY = "body"


class Hosted(msgspec.Struct, frozen=True, eq=False):
    """A component that is implemented here.

    Attributes:
        implementation: its class.
        health_path: where its health is served, empty for nowhere.
    """

    component: ComponentDescription
    implementation: type
    health_path: str
