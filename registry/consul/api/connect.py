"""The part of Consul's HTTP API for its service mesh: certificates and intentions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from meshcore.core.errors import AuthorizationError, Code, CommunicationError

from .types import AuthorizationRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..machines.blocking_query import Query
    from .client import ConsulClient

_OFF = "Connect must be enabled"
_NOBODY = "~"
"""No service has this name, so only an intention for all callers, or the default, is for it."""


class Leaf(msgspec.Struct, frozen=True, rename="pascal"):
    """The certificate of a service, with those between it and a root, and its key."""

    cert_pem: str = msgspec.field(name="CertPEM")
    private_key_pem: str = msgspec.field(name="PrivateKeyPEM")


class Root(msgspec.Struct, frozen=True, rename="pascal"):
    """The certificate of a root. One that was rotated out is still trusted until no certificate of it is valid."""

    root_cert: str


class Roots(msgspec.Struct, frozen=True, rename="pascal"):
    """All roots that are trusted."""

    roots: list[Root] | None = None


class IntentionEntry(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """An intention. Since Consul 1.9 it may have permissions instead of an action, and further requirements."""

    source_name: str
    destination_name: str
    action: str = ""
    precedence: int = 0
    source_type: str = "consul"
    source_ns: str = msgspec.field(name="SourceNS", default="default")
    source_partition: str = "default"
    source_peer: str = ""
    source_sameness_group: str = ""
    permissions: list[Any] | None = None
    jwt: Any = msgspec.field(name="JWT", default=None)


async def read_leaf(client: ConsulClient, service: str, query: Query) -> tuple[int, Leaf]:
    """Read the certificate of a service. The agent makes it if it has none, and renews it. Returns the index, too.

    Raises:
        CommunicationError: as each request; `FAILED_PRECONDITION` if the agent has its authority switched off.
        AuthorizationError: the token may not have it. The text names the right that it lacks.
    """
    path = f"agent/connect/ca/leaf/{quote(service, safe='')}"
    try:
        index, _, leaf = await client.watched(path, Leaf, query.index, query.wait, query.timeout, own=True)
    except AuthorizationError:
        await _require(client, "service", "write", service)
        raise
    except CommunicationError as error:
        raise _why_off(error) from error
    return index, leaf


async def read_roots(client: ConsulClient, query: Query) -> tuple[int, tuple[str, ...]]:
    """Read the certificates of all roots, in PEM. Returns the index, too. Raises as `read_leaf`."""
    path = "agent/connect/ca/roots"
    try:
        index, _, found = await client.watched(path, Roots, query.index, query.wait, query.timeout, own=True)
    except CommunicationError as error:
        raise _why_off(error) from error
    if not found.roots:
        raise CommunicationError(Code.UNAVAILABLE, "Consul's certificate authority has no root yet")
    return index, tuple(root.root_cert for root in found.roots)


async def await_intentions(client: ConsulClient, query: Query) -> int:
    """Return when any intention has changed. Returns the index.

    The list of all intentions is asked for its index. The answer that has only those of a service waits likewise, but
    has no index. A token that may read none of them gets an index, too.
    """
    path = "connect/intentions"
    index, _, _ = await client.watched(path, msgspec.Raw, query.index, query.wait, query.timeout, own=True)
    return index


async def read_intentions(
    client: ConsulClient, services: Sequence[str]
) -> dict[str, tuple[list[IntentionEntry], bool]]:
    """Read all intentions that are for services, and whether a call is allowed that none is for.

    The leader answers, so that what `await_intentions` has told of is in it.

    Raises:
        CommunicationError: as each request.
        AuthorizationError: the token may not. The text names the right that it lacks.
    """
    names = [quote(service, safe="") for service in services]
    path = f"connect/intentions/match?by=destination&{'&'.join(f'name={name}' for name in names)}"
    try:
        found = await client.get(path, dict[str, list[IntentionEntry] | None])
        # After the others: an intention for all callers that is made in between ends the next wait.
        allowed = [await _allowed(client, name) for name in names]
    except AuthorizationError:
        for service in services:
            await _require(client, "intention", "read", service)
        raise
    return {service: (found.get(service) or [], each) for service, each in zip(services, allowed, strict=True)}


class _Check(msgspec.Struct, frozen=True, rename="pascal"):
    allowed: bool


async def _allowed(client: ConsulClient, quoted: str) -> bool:
    path = f"connect/intentions/check?source={quote(_NOBODY)}&destination={quoted}"
    return (await client.get(path, _Check)).allowed


async def _require(client: ConsulClient, resource: str, access: str, service: str) -> None:
    """Raise an error that names a right if the token lacks it.

    Raises:
        AuthorizationError: it does.
    """
    try:
        (allowed,) = await client.authorize(AuthorizationRequest(resource, access, service))
    except (AuthorizationError, CommunicationError, ValueError):  # the token is unknown, or Consul is too old
        return
    if allowed:
        return
    what = f"write the service {service!r}" if resource == "service" else f"read the intentions for {service!r}"
    raise AuthorizationError(
        Code.PERMISSION_DENIED, f'the token may not {what} (its policy needs: service "{service}" {access})'
    )


def _why_off(error: CommunicationError) -> CommunicationError:
    if _OFF not in error.message:
        return error
    return CommunicationError(
        Code.FAILED_PRECONDITION,
        "Consul's certificate authority is switched off (its servers and this agent need: connect { enabled = true })",
    )
