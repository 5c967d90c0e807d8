"""Writes an instance into the Meta of a Consul service, and reads it.

The keys are `mesh` (the version of this form), `id`, `component`, `ch_0`, `ch_1`, ... (channel and URL, in the server's
order), `ver`, `zone`, `weight`, `digest`, `health`, `started` and `socket`. A value that is too long for Consul
continues under `KEY-1`, `KEY-2`, ... The key `channels` has the addresses in the form of aspyx-service, as many as fit
into one value. The registrations of aspyx-service have this key only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from meshcore.core.instances import ChannelAddress, Instance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .api.types import HealthEntry

MAX_PAIRS = 64
"""The number of pairs that Consul accepts."""

MAX_WEIGHT = 65535
"""The largest weight that Consul accepts; the smallest is 1. A larger one, and 0, are written into Meta."""

_VERSION = "1"
_MAX_VALUE = 512  # bytes of a value

_NEW = frozenset({"stream-msgpack"})
"""Channels that aspyx-service is not told of: it might choose one that it does not know."""

_LEGACY = re.compile(r"([^\s(),]+)\(([^\s(),]+)\)")
_LEGACY_TEXT = re.compile(rf"{_LEGACY.pattern}(,{_LEGACY.pattern})*")


def meta_of(instance: Instance) -> dict[str, str]:
    """Return the pairs of an instance. There may be more than Consul accepts."""
    return dict(_pairs(instance))


def instance_in(found: HealthEntry) -> Instance | None:
    """Return the instance of a registration; None if it is not one of a component."""
    meta = found.service.meta or {}
    return _ours(meta, found) if "mesh" in meta else _legacy(meta, found)


def _pairs(instance: Instance) -> Iterator[tuple[str, str]]:
    legacy = ",".join(
        text
        for address in instance.addresses
        if address.channel not in _NEW and _LEGACY.fullmatch(text := _text(address))
    )
    # A long list is cut between two addresses: aspyx-service cannot parse half of one.
    while len(legacy.encode()) > _MAX_VALUE:
        legacy = legacy.rpartition(",")[0]
    if legacy:
        yield "channels", legacy
    facts = {
        "mesh": _VERSION,
        "id": instance.id,
        "component": instance.component,
        **{f"ch_{number}": _text(address) for number, address in enumerate(instance.addresses)},
        "ver": instance.version,
        "zone": instance.zone,
        "weight": "" if 0 < instance.weight <= MAX_WEIGHT else str(instance.weight),
        "digest": instance.digest,
        "health": instance.health,
        "started": str(instance.started) if instance.started else "",
        "socket": instance.socket,
    }
    for key, value in facts.items():
        if value:
            for number, part in enumerate(_parts(value)):
                yield (f"{key}-{number}" if number else key), part


def _text(address: ChannelAddress) -> str:
    return f"{quote(address.channel, safe='')}({address.url})"


def _parts(value: str) -> Iterator[str]:
    rest = value.encode()
    while rest:
        # A character is never divided: `ignore` drops the bytes of an incomplete one, which begin the next part.
        part = rest[:_MAX_VALUE].decode(errors="ignore")
        yield part
        rest = rest[len(part.encode()) :]


def _joined(meta: Mapping[str, str], key: str) -> str:
    parts = [meta.get(key, "")]
    while (more := f"{key}-{len(parts)}") in meta:
        parts.append(meta[more])
    return "".join(parts)


def _ours(meta: Mapping[str, str], found: HealthEntry) -> Instance | None:
    name, component = _joined(meta, "id"), _joined(meta, "component")
    addresses: list[ChannelAddress] = []
    while f"ch_{len(addresses)}" in meta:
        channel, _, url = _joined(meta, f"ch_{len(addresses)}").partition("(")
        addresses.append(ChannelAddress(unquote(channel), url.removesuffix(")")))
    weight = _joined(meta, "weight")
    if not name or not component or (weight and not weight.isdecimal()):
        return None
    return Instance(
        name,
        component,
        tuple(addresses),
        version=_joined(meta, "ver"),
        zone=_joined(meta, "zone"),
        weight=int(weight) if weight else max(1, found.service.weights.passing),
        digest=_joined(meta, "digest"),
        health=_joined(meta, "health"),
        started=int(started) if (started := meta.get("started", "")).isdecimal() else 0,
        socket=_joined(meta, "socket"),
    )


def _legacy(meta: Mapping[str, str], found: HealthEntry) -> Instance | None:
    text = meta.get("channels", "")
    if not _LEGACY_TEXT.fullmatch(text):
        return None
    addresses = tuple(ChannelAddress(channel, url) for channel, url in _LEGACY.findall(text))
    # The ids of aspyx-service do not name the node, and are the same after a restart.
    return Instance(f"{found.service.id}@{found.node.node}", found.service.service, addresses)
