"""What an agent is told of an instance, and what an entry of Consul says of one. Its Meta is `consul_meta`'s."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zlib import crc32

from meshcore.core.errors import Code, LocalError

from .api.types import Check, HealthEntry, Registration, Weights
from .machines.service_watch import Entry, Level
from .meta import HEAVIEST, MOST, instance_in, meta_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshcore.core.instances import Instance

_logger = logging.getLogger(__name__)

TAG = "component"
"""Marks what is a component, as aspyx-service does."""

_EDITION = "edition-"
"""Begins the tag that is another for each other registration: whoever lists services sees in it which has changed."""

TTL = 3.0
"""Seconds without a heartbeat after which an instance is critical."""

INTERVAL, TIMEOUT = 1.0, 0.5
"""Seconds between two checks that the agent makes, and how long it waits for an answer."""

_SWEPT = "1m"
"""How long an instance is critical before Consul removes it; less than a minute is a minute."""


def service_name(component: str) -> str:
    """The name in Consul: the component's own, but for what Consul does not tell apart or cannot have in a URL.

    It ignores case, and cleans paths. So whatever is neither a small letter, a digit, `-`, `_` nor a dot between others
    is written as `~` and its bytes in hexadecimal.
    """
    return re.sub(r"[^a-z0-9_.-]|^\.", lambda found: "".join(f"~{byte:02x}" for byte in found[0].encode()), component)


def service_id(instance: Instance) -> str:
    """The id of the registration; other instances, and the same of another component, have others."""
    return f"{service_name(instance.component)}:{service_name(instance.id)}"


def checked_by_agent(instance: Instance, check: str) -> bool:
    """Whether the agent itself asks for the instance's health, else its process reports it.

    Args:
        instance: whose.
        check: of `ConsulConfig`.
    """
    return check == "http" and bool(instance.health)


def check_id(instance: Instance, check: str) -> str:
    """The id of its check."""
    return f"{service_id(instance)}:{'http' if checked_by_agent(instance, check) else 'ttl'}"


def objection_to(instance: Instance) -> str:
    """Why it does not fit into Consul, empty if it does.

    Nothing is cut off, and nothing of it stays on the server to be fetched from there: that would be a second way to
    find out where an instance is, used by nobody until the day it fails. One with a dozen channels takes 20 pairs.
    """
    pairs = len(meta_of(instance))
    if pairs <= MOST:
        return ""
    longest = max(len(each.url.encode()) for each in instance.addresses) if instance.addresses else 0
    return (
        f"Consul's Meta holds {MOST} pairs, and this takes {pairs}: it has {len(instance.addresses)} addresses "
        f"(get_addresses), the longest URL of {longest} bytes; each takes a pair for every 512 bytes"
    )


def registration_of(instance: Instance, check: str = "ttl", status: str = "passing") -> Registration:
    """What the agent is told.

    Args:
        instance: what is registered.
        check: of `ConsulConfig`.
        status: of its check until that says something. Without it Consul takes critical, so the instance would be
            nobody's until then; but it listens by now.

    Raises:
        LocalError: it does not fit.
    """
    objection = objection_to(instance)
    if objection:
        raise LocalError(
            Code.INVALID_ARGUMENT, f"{instance.id} of {instance.component} cannot be announced: {objection}"
        )
    address, port = _origin(instance)
    meta, weight = meta_of(instance), min(instance.weight, HEAVIEST)
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
    """Of a service's tags, those that tell one registration from another."""
    return frozenset(tag for tag in tags if tag.startswith(_EDITION))


def _check(instance: Instance, check: str, status: str) -> Check:
    if not checked_by_agent(instance, check):
        return Check(
            check_id(instance, check),
            status,
            name="heartbeat of the process",
            ttl=f"{TTL:g}s",
            deregister_critical_service_after=_SWEPT,
        )
    return Check(
        check_id(instance, check),
        status,
        name="health of the component",
        http=instance.health,
        interval=f"{INTERVAL:g}s",
        timeout=f"{TIMEOUT * 1000:g}ms",
        # Whether its certificate is good is its clients' business, who have its authority; the agent has not.
        tls_skip_verify=instance.health.startswith("https:"),
        deregister_critical_service_after=_SWEPT,
    )


def entry_of(found: HealthEntry) -> Entry | None:
    """The instance of a registration, None if it is no component's."""
    instance = instance_in(found)
    if instance is None:
        who = found.service.id, found.node.node, found.service.service
        _logger.debug("%s at %s is registered as %s, but is no component", *who)
        return None
    return Entry(f"{found.node.node}/{found.service.id}", _level(found), instance)


def is_component(tags: list[str]) -> bool:
    """Whether a service of the catalog is a component."""
    return TAG in tags


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
