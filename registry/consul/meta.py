"""How an instance is written into the Meta of a Consul service, and read again.

One key per fact: `mesh` (the version of this form), `id`, `component`, `ch_0`, `ch_1`, ... (channel and URL, in the
server's order), `ver`, `zone`, `digest`, `health`. A value that is too long for Consul goes on under `KEY-1`, `KEY-2`,
... The key `channels` has the addresses in the form of aspyx-service, which knows no other, as far as they fit in
there; what aspyx-service registers is read from it as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from meshcore.core.instances import ChannelAddress, Instance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .api.types import HealthEntry

MOST = 64
"""Pairs that Consul takes."""

HEAVIEST = 65535
"""The largest weight that Consul takes; a larger one is written into Meta."""

_FORM = "1"
_LONGEST = 512  # bytes of a value

_LEGACY = re.compile(r"([^\s(),]+)\(([^\s(),]+)\)")
_LEGACY_TEXT = re.compile(rf"{_LEGACY.pattern}(,{_LEGACY.pattern})*")


def meta_of(instance: Instance) -> dict[str, str]:
    """Its pairs, perhaps more than Consul takes."""
    return dict(_pairs(instance))


def instance_in(found: HealthEntry) -> Instance | None:
    """The instance of a registration, None if it is no component's."""
    meta = found.service.meta or {}
    return _ours(meta, found) if "mesh" in meta else _legacy(meta, found)


def _pairs(instance: Instance) -> Iterator[tuple[str, str]]:
    legacy = ",".join(each for address in instance.addresses if _LEGACY.fullmatch(each := _text(address)))
    # A list that is too long is cut between two of them, as aspyx-service stops at anything else.
    while len(legacy.encode()) > _LONGEST:
        legacy = legacy.rpartition(",")[0]
    if legacy:
        yield "channels", legacy
    facts = {
        "mesh": _FORM,
        "id": instance.id,
        "component": instance.component,
        **{f"ch_{number}": _text(address) for number, address in enumerate(instance.addresses)},
        "ver": instance.version,
        "zone": instance.zone,
        "weight": str(instance.weight) if instance.weight > HEAVIEST else "",
        "digest": instance.digest,
        "health": instance.health,
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
        # Never within a character: what is cut off of one is left for the next part.
        part = rest[:_LONGEST].decode(errors="ignore")
        yield part
        rest = rest[len(part.encode()) :]


def _whole(meta: Mapping[str, str], key: str) -> str:
    parts = [meta.get(key, "")]
    while (more := f"{key}-{len(parts)}") in meta:
        parts.append(meta[more])
    return "".join(parts)


def _ours(meta: Mapping[str, str], found: HealthEntry) -> Instance | None:
    name, component = _whole(meta, "id"), _whole(meta, "component")
    addresses: list[ChannelAddress] = []
    while f"ch_{len(addresses)}" in meta:
        channel, _, url = _whole(meta, f"ch_{len(addresses)}").partition("(")
        addresses.append(ChannelAddress(unquote(channel), url.removesuffix(")")))
    weight = _whole(meta, "weight")
    if not name or not component or (weight and not weight.isdecimal()):
        return None
    return Instance(
        name,
        component,
        tuple(addresses),
        version=_whole(meta, "ver"),
        zone=_whole(meta, "zone"),
        weight=int(weight) if weight else max(1, found.service.weights.passing),
        digest=_whole(meta, "digest"),
        health=_whole(meta, "health"),
    )


def _legacy(meta: Mapping[str, str], found: HealthEntry) -> Instance | None:
    text = meta.get("channels", "")
    if not _LEGACY_TEXT.fullmatch(text):
        return None
    addresses = tuple(ChannelAddress(channel, url) for channel, url in _LEGACY.findall(text))
    # Its ids say nothing of the node, and are the same after a restart.
    return Instance(f"{found.service.id}@{found.node.node}", found.service.service, addresses)
