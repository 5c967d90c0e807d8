"""The order in which a client takes the channels that instances offer, where neither caller nor settings name one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from meshcore.core.instances import Instance

STREAM: Final = "stream-msgpack"
"""Comes before the channels of HTTP in meshes that know it. It is announced as the last one, for all other clients."""

_HTTP: Final = frozenset({"dispatch-msgpack", "dispatch-json", "rest"})


def order_of_choice(instances: tuple[Instance, ...], known: Collection[str]) -> tuple[str, ...]:
    """The channels that instances offer and that are known here, the first choice first.

    That is the order of the announcements, but for the stream. It comes before the channels of HTTP if nothing is
    against it, see `against_stream`.
    """
    names = [address.channel for instance in instances for address in instance.addresses]
    offered = [name for name in dict.fromkeys(names) if name in known]
    if STREAM in offered and not against_stream(instances):
        place = next(number for number, name in enumerate(offered) if name in _HTTP or name == STREAM)
        offered.remove(STREAM)
        offered.insert(place, STREAM)
    return tuple(offered)


def against_stream(instances: tuple[Instance, ...]) -> Mapping[str, str]:
    """Which instances keep the stream from being the first choice of all calls, by id, and why.

    If only some offered it, all calls would go to these. And of processes that share an address only one would serve
    the calls of a connection.
    """
    serving = [instance for instance in instances if instance.weight > 0]
    endpoints = {instance.id: instance.endpoint(STREAM) for instance in serving}
    sharing = Counter(endpoint.url for endpoint in endpoints.values() if endpoint is not None)
    found: dict[str, str] = {}
    for name, endpoint in endpoints.items():
        if endpoint is None:
            found[name] = f"does not offer {STREAM}, so none is called over it"
        elif sharing[endpoint.url] > 1:
            found[name] = f"shares its address with others, so none is called over {STREAM}"
    return found
