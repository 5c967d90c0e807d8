"""What fills a parameter: the product of a recipe, a constant, or the proxy of a service."""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias

import msgspec

from meshcore.inject.recipes import Recipe


class Constant(msgspec.Struct, frozen=True, eq=False):
    """An argument that is known before the start: a value of the settings, a default, or None."""

    value: object


class Proxied(msgspec.Struct, frozen=True, eq=False):
    """An argument that is the proxy of a service."""

    kind: type
    preferred_channel: str


class Omitted(msgspec.Struct, frozen=True, eq=False):
    """An argument that is not passed: the parameter has a default, or a derived class may give it a value.

    Attributes:
        reason: why nothing provides it; empty if it has a default.
    """

    reason: str = ""


Argument: TypeAlias = Recipe | Constant | Proxied | Omitted
"""What fills a parameter."""


class ServiceTypes(Protocol):
    """Tells which types are services: parameters of such a type are given a proxy."""

    def is_service(self, kind: type) -> bool:
        """Whether the type is a service."""
        ...

    def why_not(self, kind: type, preferred_channel: str) -> str:
        """Why the service cannot be called over the channel; empty if it can."""
        ...


class _NoServices:
    """The default of a graph."""

    def is_service(self, kind: type) -> bool:  # noqa: ARG002
        return False

    def why_not(self, kind: type, preferred_channel: str) -> str:  # noqa: ARG002
        return "there are no services"


NO_SERVICES: Final = _NoServices()
