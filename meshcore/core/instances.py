"""Instances of components, their addresses, and what a registry reports of them."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from meshcore.core.masking import without_secrets


class ChannelAddress(msgspec.Struct, frozen=True):
    """A channel that an instance offers, and its URL."""

    channel: str
    url: str


class Instance(msgspec.Struct, frozen=True):
    """One running process that hosts a component.

    Attributes:
        id: unique for each start of the process.
        component: the component's name.
        addresses: in the server's order of preference. A client takes the first whose channel it knows, by default; of
            the channels that come with meshcore, `stream-msgpack` if all instances offer it.
        version: the version that its operator gave it, free text.
        zone: where it runs, free text.
        weight: its share of the calls, relative to the weights of the others. With 0 it gets no new calls.
        digest: the digest of each service's contract, see `contract.ComponentContract.digest`.
        health: the URL of the component's health (200 for OK, 429 for WARNING, 500 for ERROR), empty if there is none.
        started: when the component started, in whole seconds since 1970 by its machine's clock; 0 if unknown.
        socket: the unix socket at which its server listens as well, see `stream.unix_socket`; empty if there is none.
    """

    id: str
    component: str
    addresses: tuple[ChannelAddress, ...]
    version: str = ""
    zone: str = ""
    weight: int = 1
    digest: str = ""
    health: str = ""
    started: int = 0
    socket: str = ""

    def endpoint(self, channel: str) -> Endpoint | None:
        """The endpoint of this instance for a channel, None if it does not offer the channel."""
        for address in self.addresses:
            if address.channel == channel:
                return Endpoint(self.id, address.url, self.zone, self.weight, self.socket)
        return None


class Endpoint(msgspec.Struct, frozen=True):
    """The address of one instance for one channel. URL selectors choose among endpoints."""

    instance: str
    url: str
    zone: str = ""
    weight: int = 1
    socket: str = ""


class Pending(msgspec.Struct, frozen=True):
    """The registry has not answered yet."""


class Bound(msgspec.Struct, frozen=True):
    """The instances of the component: at least one, ordered by id."""

    instances: tuple[Instance, ...]


class Absent(msgspec.Struct, frozen=True):
    """The registry knows that there is no instance of the component."""


class Failed(msgspec.Struct, frozen=True):
    """The registry cannot be read at the moment. The instances that were known before stay in use."""

    cause: Exception


Sighting: TypeAlias = Pending | Bound | Absent | Failed
"""What a registry reports of a component (Finagle's `Addr`)."""


def sighting_of(instances: tuple[Instance, ...]) -> Bound | Absent:
    """The sighting for a complete list of instances."""
    if not instances:
        return Absent()
    return Bound(tuple(sorted(instances, key=lambda instance: instance.id)))


def url_objection(url: str) -> str:
    """Why a URL cannot be called, empty if it can. Only schemes of HTTP need a host."""
    shown = without_secrets(url)
    try:
        parts = urlsplit(url)
        without_host = not parts.hostname and parts.scheme in {"", "http", "https"}
        _ = parts.port  # raises if it is no port
    except ValueError as error:
        return f"{shown!r} is no URL: {error}"
    if without_host or "://" not in url:
        return f"{shown!r} has no scheme and host, as http://host:8000 has"
    return ""
