"""Descriptions of methods, services and components: read once from their classes, then immutable."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from enum import Enum
from typing import Any, cast

import msgspec

from meshcore.core.policy import Policy


class _Required(msgspec.Struct, frozen=True):
    """The type of `REQUIRED`."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()
"""The default of a parameter that has none."""


class Source(Enum):
    """Where a REST request carries a parameter."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"
    BODY = "body"


class Shape(Enum):
    """What streams in the calls of a method: gRPC's four kinds of methods. The value is what people read."""

    UNARY = "unary call"
    SERVER_STREAM = "server stream"
    CLIENT_STREAM = "client stream"
    BIDIRECTIONAL = "bidirectional stream"


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a method.

    Attributes:
        name: its name in the signature.
        type: the resolved annotation, without the mesh's marks. Constraints such as `msgspec.Meta` stay. Of a stream it
            is the type of the items.
        keyword_only: whether it must be given by name.
        positional_only: whether it must be given by position.
        default: `REQUIRED` if it has none.
        source: where a REST request carries it, None if the method has no HTTP mapping.
        description: from its mark, else from the docstring.
        example: from its mark.
        alias: its name in the query or header, if it differs from `name`.
        stream: whether it is a stream of values, which the caller sends one by one.
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
    stream: bool = False

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED

    @property
    def is_default_mutable(self) -> bool:
        """Whether each call needs a copy of the default, as of a list. What can be hashed is taken for immutable."""
        try:
            hash(self.default)
        except TypeError:
            return True
        return False

    def fresh_default(self) -> Any:
        """The default for one call, which may change it."""
        return copy.deepcopy(self.default) if self.is_default_mutable else self.default

    @property
    def wire_name(self) -> str:
        """Its name in a REST request."""
        if self.source is Source.HEADER:
            return (self.alias or self.name.strip("_").replace("_", "-")).lower()
        return self.alias or self.name


class HttpMapping(msgspec.Struct, frozen=True):
    """The HTTP request that REST sends for a method.

    Attributes:
        verb: GET, POST, PUT, PATCH or DELETE.
        path: the path with the prefix of the interface; parameters stand in braces.
        tags: for the OpenAPI document.
        status: the status of a successful response.
    """

    verb: str
    path: str
    tags: tuple[str, ...] = ()
    status: int = 200


class Resumption(msgspec.Struct, frozen=True):
    """How a stream that broke goes on: its method is called again with the key of the last item.

    Attributes:
        at: the index of the parameter that gets it.
        key: the field of the item that is its key, empty if that is the whole item.
    """

    at: int
    key: str = ""

    def key_of(self, item: Any) -> Any:
        """The key of an item.

        Raises:
            LookupError: it has none, which only an item of any type may lack.
        """
        if not self.key:
            return item
        if isinstance(item, Mapping):
            return cast("Mapping[str, Any]", item)[self.key]
        try:
            return getattr(item, self.key)
        except AttributeError:
            raise LookupError(self.key) from None


class Method(msgspec.Struct, frozen=True, eq=False):
    """One method of a service. Compared by identity: a mesh describes each interface once.

    Attributes:
        service: the service's name.
        name: the method's name.
        parameters: in the order of the signature; arguments are sent in this order.
        returns: the resolved return type, `None` if it returns nothing. Of a stream it is the type of the items.
        is_async: whether its callers await it, or read its items with `async for`.
        idempotent: whether it may be executed again for the same call.
        shielded: whether it runs on when the caller has left.
        passes_token: whether the token of the call that is served goes on to it.
        idempotency_key: seconds for which a server keeps a call's outcome for repetitions of it, None if the method
            takes no key.
        raises: the declared exceptions.
        http: its REST mapping, None if it has none.
        affinity: the index of the argument whose value selects the instance, None if the method has no affinity.
        policy: the policy that its interface declares for it.
        yields: whether it returns a stream of values, which come one by one.
        resumption: how such a stream goes on when it breaks, None if the interface does not say.
        allowed: the components that may call it, `*` for everybody; None if the interface does not say.
    """

    service: str
    name: str
    parameters: tuple[Parameter, ...]
    returns: Any
    is_async: bool
    idempotent: bool = False
    shielded: bool = False
    passes_token: bool = False
    idempotency_key: float | None = None
    raises: tuple[type[Exception], ...] = ()
    http: HttpMapping | None = None
    summary: str = ""
    description: str = ""
    affinity: int | None = None
    policy: Policy | None = None
    yields: bool = False
    resumption: Resumption | None = None
    allowed: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{self.service}.{self.name}"

    @property
    def stream_at(self) -> int | None:
        """The index of the parameter that is a stream, None if none is."""
        return next((at for at, parameter in enumerate(self.parameters) if parameter.stream), None)

    @property
    def shape(self) -> Shape:
        """What streams in its calls."""
        takes = self.stream_at is not None
        if self.yields:
            return Shape.BIDIRECTIONAL if takes else Shape.SERVER_STREAM
        return Shape.CLIENT_STREAM if takes else Shape.UNARY


class ServiceDescription(msgspec.Struct, frozen=True, eq=False):
    """What a service interface offers. `allowed` is that of its methods that have none."""

    interface: type
    name: str
    description: str
    methods: tuple[Method, ...]
    policy: Policy | None = None
    allowed: tuple[str, ...] | None = None

    def method(self, name: str) -> Method | None:
        """The method of that name."""
        return next((method for method in self.methods if method.name == name), None)


class ComponentDescription(msgspec.Struct, frozen=True, eq=False):
    """A component: services that are deployed together.

    Attributes:
        interface: the class that was decorated with `@component`.
        allowed: that of its services that have none.
    """

    interface: type
    name: str
    description: str
    services: tuple[ServiceDescription, ...]
    policy: Policy | None = None
    allowed: tuple[str, ...] | None = None


class HostedComponent(msgspec.Struct, frozen=True, eq=False):
    """A component that this process implements.

    Attributes:
        implementation: its class.
        health_path: the path that serves its health, empty if there is none.
    """

    component: ComponentDescription
    implementation: type
    health_path: str
