"""How an instance is written into Consul, and read again.

One Consul service per component. Its Meta holds one key per fact: `mesh` (the version of this form), `id`, `component`,
`ch_0`, `ch_1`, ... (channel and URL, in the server's order), `ver`, `zone`, `digest`. A value that is too long for
Consul goes on under `KEY-1`, `KEY-2`, ... The key `channels` has the addresses in the form of aspyx-service, which
knows no other, as far as they fit in there; what aspyx-service registers is read from it as well.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from meshcore.errors import Code, LocalError
from meshcore.instances import ChannelAddress, Instance
from registry.consul_types import Check, HealthEntry, Registration, Weights
from registry.consul_watch import Entry, Level

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_logger = logging.getLogger(__name__)

TAG = "component"
"""Marks what is a component, as aspyx-service does. Tags hold nothing else: whoever lists services is woken by them."""

TTL = 3.0
"""Seconds without a heartbeat after which an instance is critical."""

_SWEPT = "1m"
"""How long an instance is critical before Consul removes it; less than a minute is a minute."""

_FORM = "1"
_LONGEST = 512  # bytes of a value
_MOST = 64  # pairs
_HEAVIEST = 65535

_LEGACY = re.compile(r"([^\s(),]+)\(([^\s(),]+)\)")
_LEGACY_TEXT = re.compile(rf"{_LEGACY.pattern}(,{_LEGACY.pattern})*")


def service_name(component: str) -> str:
    """The name in Consul: the component's own, but for what Consul does not tell apart or cannot have in a URL.

    It ignores case, and cleans paths. So whatever is neither a small letter, a digit, `-`, `_` nor a dot between others
    is written as `~` and its bytes in hexadecimal.
    """
    return re.sub(r"[^a-z0-9_.-]|^\.", lambda found: "".join(f"~{byte:02x}" for byte in found[0].encode()), component)


def service_id(instance: Instance) -> str:
    """The id of the registration; other instances, and the same of another component, have others."""
    return f"{service_name(instance.component)}:{service_name(instance.id)}"


def check_id(instance: Instance) -> str:
    """The id of its check, which the heartbeat names."""
    return f"{service_id(instance)}:ttl"


def registration_of(instance: Instance) -> Registration:
    """What the agent is told.

    Raises:
        LocalError: it does not fit.
    """
    meta = dict(_pairs(instance))
    if len(meta) > _MOST:
        raise LocalError(
            Code.INVALID_ARGUMENT,
            f"{instance.id} of {instance.component} cannot be announced: it takes {len(meta)} pairs of Consul's Meta, "
            f"which holds {_MOST}; it has {len(instance.addresses)} addresses",
        )
    address, port = _origin(instance)
    return Registration(
        id=service_id(instance),
        name=service_name(instance.component),
        address=address,
        port=port,
        tags=(TAG,),
        meta=meta,
        weights=Weights(min(instance.weight, _HEAVIEST), 1),
        check=Check(
            check_id(instance),
            # Else it would be critical, and nobody's, until the first heartbeat. It listens by now.
            status="passing",
            name="heartbeat of the process",
            ttl=f"{TTL:g}s",
            deregister_critical_service_after=_SWEPT,
        ),
    )


def entry_of(found: HealthEntry) -> Entry | None:
    """The instance of a registration, None if it is no component's."""
    meta = found.service.meta or {}
    instance = _ours(meta, found) if "mesh" in meta else _legacy(meta, found)
    if instance is None:
        _logger.debug("%s at %s is registered as %s, but is no component", *_who(found), found.service.service)
        return None
    return Entry(f"{found.node.node}/{found.service.id}", _level(found), instance)


def is_component(tags: list[str]) -> bool:
    """Whether a service of the catalog is a component."""
    return TAG in tags


def _who(found: HealthEntry) -> tuple[str, str]:
    return found.service.id, found.node.node


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
        "weight": str(instance.weight) if instance.weight > _HEAVIEST else "",
        "digest": instance.digest,
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
    )


def _legacy(meta: Mapping[str, str], found: HealthEntry) -> Instance | None:
    text = meta.get("channels", "")
    if not _LEGACY_TEXT.fullmatch(text):
        return None
    addresses = tuple(ChannelAddress(channel, url) for channel, url in _LEGACY.findall(text))
    # Its ids say nothing of the node, and are the same after a restart.
    return Instance(f"{found.service.id}@{found.node.node}", found.service.service, addresses)


def _level(found: HealthEntry) -> Level:
    """The worst of its checks, those of its node among them."""
    statuses = {check.status for check in found.checks}
    if statuses <= {"passing"}:
        return Level.PASSING
    return Level.WARNING if statuses <= {"passing", "warning"} else Level.CRITICAL


def _origin(instance: Instance) -> tuple[str, int]:
    """Of its first address, for people and for Consul's DNS; clients of ours read the channels."""
    for address in instance.addresses:
        try:
            parts = urlsplit(address.url)
            if parts.hostname:
                return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            continue
    return "", 0
