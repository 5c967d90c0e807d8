"""Who offers a component: instances, their addresses, and what a registry reports of them."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from meshcore.core.masking import without_secrets


class ChannelAddress(msgspec.Struct, frozen=True):
    """Under which URL an instance is reached over which channel."""

    channel: str
    url: str


class Instance(msgspec.Struct, frozen=True):
    """One running process that hosts a component.

    Attributes:
        id: unique for this start of the process; a restarted process has another.
        component: the component's name.
        addresses: in the order of the server's preference; the first that the client knows is the default.
        version: the version that its operator gave it, free text.
        zone: where it runs, free text.
        weight: its share of the calls relative to the others.
        digest: of the contract that it serves: one for each service, see `contract.ComponentContract.digest`.
        health: the URL that answers with the component's health (200 for OK, 429 for WARNING, 500 for ERROR), empty if
            there is none.
    """

    id: str
    component: str
    addresses: tuple[ChannelAddress, ...]
    version: str = ""
    zone: str = ""
    weight: int = 1
    digest: str = ""
    health: str = ""

    def endpoint(self, channel: str) -> Endpoint | None:
        """Where this instance is reached over that channel, None if it is not."""
        for address in self.addresses:
            if address.channel == channel:
                return Endpoint(instance=self.id, url=address.url, zone=self.zone, weight=self.weight)
        return None


def url_objection(url: str) -> str:
    """Why nobody can be reached under a URL, empty if somebody may be. Schemes other than HTTP's need no host."""
    shown = without_secrets(url)
    try:
        parts = urlsplit(url)
        without_host = not parts.hostname and parts.scheme in {"", "http", "https"}
        _ = parts.port  # which is not read before
    except ValueError as error:
        return f"{shown!r} is no URL: {error}"
    if without_host or "://" not in url:
        return f"{shown!r} has no scheme and host, as http://host:8000 has"
    return ""


class Endpoint(msgspec.Struct, frozen=True):
    """One instance as one channel sees it: what a URL selector chooses from."""

    instance: str
    url: str
    zone: str = ""
    weight: int = 1


class Pending(msgspec.Struct, frozen=True):
    """The registry has not answered yet."""


class Bound(msgspec.Struct, frozen=True):
    """These instances are there; never empty, ordered by id."""

    instances: tuple[Instance, ...]


class Absent(msgspec.Struct, frozen=True):
    """The registry says with authority that nobody offers the component."""


class Failed(msgspec.Struct, frozen=True):
    """The registry cannot tell at the moment; what was known before stays in use."""

    cause: Exception


Sighting: TypeAlias = Pending | Bound | Absent | Failed
"""What a registry reports of a component."""


def sighting_of(instances: tuple[Instance, ...]) -> Bound | Absent:
    """The sighting of a full snapshot that the registry vouches for."""
    if not instances:
        return Absent()
    return Bound(tuple(sorted(instances, key=lambda instance: instance.id)))
