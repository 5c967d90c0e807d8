"""Registrations in Consul: makes them from instances, and reads instances from them. `meta` writes their Meta."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zlib import crc32

from meshcore.core.errors import Code, LocalError

from .api.types import Check, HealthEntry, Registration, Weights
from .machines.service_watch import Entry, Level
from .meta import MAX_PAIRS, MAX_WEIGHT, instance_in, meta_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshcore.core.instances import Instance

_logger = logging.getLogger(__name__)

TAG = "component"
"""The tag of all components, as in aspyx-service."""

_EDITION = "edition-"
"""Prefix of a tag with a digest of the registration. It shows which services have changed in a list of services."""

TTL = 3.0
"""Seconds without a heartbeat after which an instance is critical."""

INTERVAL, TIMEOUT = 1.0, 0.5
"""Seconds between two checks of the agent, and for the answer."""

_REMOVED_AFTER = "1m"
"""How long an instance is critical before Consul removes it. Consul takes no less than a minute."""


def service_name(component: str) -> str:
    """Return the name of a component's service in Consul.

    Consul ignores case, and normalizes paths. So every character but small letters, digits, `-`, `_` and dots after the
    first character is written as `~` and the hexadecimal digits of its bytes.
    """
    return re.sub(r"[^a-z0-9_.-]|^\.", lambda found: "".join(f"~{byte:02x}" for byte in found[0].encode()), component)


def service_id(instance: Instance) -> str:
    """Return the id of the registration. It is unique for each pair of component and instance."""
    return f"{service_name(instance.component)}:{service_name(instance.id)}"


def checked_by_agent(instance: Instance, check: str) -> bool:
    """Return whether the agent asks for the health of an instance. Otherwise its process reports it.

    Args:
        instance: the instance.
        check: as in `ConsulConfig`.
    """
    return check == "http" and bool(instance.health)


def check_id(instance: Instance, check: str) -> str:
    """Return the id of the check of an instance."""
    return f"{service_id(instance)}:{'http' if checked_by_agent(instance, check) else 'ttl'}"


def objection_to(instance: Instance) -> str:
    """Return why an instance does not fit into Consul; empty if it does.

    Nothing is cut off, and clients do not fetch the rest from the instance: that would be a second way of discovery
    that is never exercised. An instance with a dozen channels takes 20 pairs.
    """
    pairs = len(meta_of(instance))
    if pairs <= MAX_PAIRS:
        return ""
    longest = max(len(each.url.encode()) for each in instance.addresses) if instance.addresses else 0
    return (
        f"Consul's Meta holds {MAX_PAIRS} pairs, and this takes {pairs}: it has {len(instance.addresses)} addresses "
        f"(get_addresses), the longest URL of {longest} bytes; each takes a pair for every 512 bytes"
    )


def registration_of(instance: Instance, check: str = "ttl", status: str = "passing") -> Registration:
    """Return the registration of an instance.

    Args:
        instance: the instance.
        check: as in `ConsulConfig`.
        status: of its check until the first result. Consul's own default is critical, but the instance listens already.

    Raises:
        LocalError: the instance does not fit into Consul.
    """
    objection = objection_to(instance)
    if objection:
        raise LocalError(
            Code.INVALID_ARGUMENT, f"{instance.id} of {instance.component} cannot be announced: {objection}"
        )
    address, port = _origin(instance)
    meta, weight = meta_of(instance), max(1, min(instance.weight, MAX_WEIGHT))
    return Registration(
        id=service_id(instance),
        name=service_name(instance.component),
        address=address,
        port=port,
        tags=(TAG, _edition(instance.id, weight, *sorted(meta.items()))),
        meta=meta,
        weights=Weights(weight, 1),
        check=_check(instance, check, status),
    )


def _edition(*parts: object) -> str:
    return f"{_EDITION}{crc32(repr(parts).encode()):08x}"


def editions(tags: Iterable[str]) -> frozenset[str]:
    """Return the edition tags among the tags of a service."""
    return frozenset(tag for tag in tags if tag.startswith(_EDITION))


def _check(instance: Instance, check: str, status: str) -> Check:
    if not checked_by_agent(instance, check):
        return Check(
            check_id(instance, check),
            status,
            name="heartbeat of the process",
            ttl=f"{TTL:g}s",
            deregister_critical_service_after=_REMOVED_AFTER,
        )
    return Check(
        check_id(instance, check),
        status,
        name="health of the component",
        http=instance.health,
        interval=f"{INTERVAL:g}s",
        timeout=f"{TIMEOUT * 1000:g}ms",
        # Clients verify the certificate. The agent may not have its authority.
        tls_skip_verify=instance.health.startswith("https:"),
        deregister_critical_service_after=_REMOVED_AFTER,
    )


def entry_of(found: HealthEntry) -> Entry | None:
    """Return the instance of a registration; None if it is not one of a component."""
    instance = instance_in(found)
    if instance is None:
        names = found.service.id, found.node.node, found.service.service
        _logger.debug("%s at %s is registered as %s, but has no addresses of a component", *names)
        return None
    return Entry(f"{found.node.node}/{found.service.id}", _level(found), instance)


def is_component(tags: list[str]) -> bool:
    """Return whether a service of the catalog is a component."""
    return TAG in tags


def _level(found: HealthEntry) -> Level:
    """Return the worst status of its checks, including those of its node."""
    statuses = {check.status for check in found.checks}
    if statuses <= {"passing"}:
        return Level.PASSING
    return Level.WARNING if statuses <= {"passing", "warning"} else Level.CRITICAL


def _origin(instance: Instance) -> tuple[str, int]:
    """Return host and port of the first address, for people and for Consul's DNS. Clients of meshcore read the Meta."""
    for address in instance.addresses:
        try:
            parts = urlsplit(address.url)
            if parts.hostname:
                return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            continue
    return "", 0
