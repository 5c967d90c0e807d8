"""The registry of fixed addresses, for where somebody else (compose, DNS, a load balancer) knows who is where."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from meshcore.core.instances import ChannelAddress, Instance, Sighting, sighting_of
from meshcore.core.masking import without_secrets
from meshcore.ports.registry import ComponentRegistry

from .addresses import origin_of, parse_addresses
from .snapshot import Snapshot, snapshot_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
    from typing import Self

_logger = logging.getLogger(__name__)


class StaticComponentRegistry(ComponentRegistry):
    """Always reports the same instances: `StaticComponentRegistry({"orders": [ChannelAddress("rest", "http://h1:8000")]})`.

    A component's addresses with the same host and port are one instance, whose id is `host:port`. Nobody checks
    whether the instances live; the policies of a call (retry, ejection) deal with those that do not.

    Announcing is allowed and changes nothing: the same server runs in a world of fixed addresses and in another.

    Args:
        components: addresses by component, in the order of the server's preference.

    Raises:
        ValueError: an address has no scheme or host, or one instance is given two URLs for the same channel.
    """

    scheme: ClassVar[str] = "static"
    reaches_other_machines: ClassVar[bool] = False  # it announces nothing

    def __init__(self, components: Mapping[str, Iterable[ChannelAddress]]) -> None:
        self._instances = snapshot_of(
            instance for component, addresses in components.items() for instance in _grouped(component, addresses)
        )

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`static:orders=dispatch-json(http://h1:8000),rest(http://h1:8000);stock=...`."""
        return cls(parse_addresses(url))

    @asynccontextmanager
    async def announce(self, instance: Instance) -> AsyncGenerator[None, None]:
        """Change nothing."""
        _logger.info("%s of %s is not announced: the registry has fixed addresses", instance.id, instance.component)
        yield

    async def watch(self, component: str) -> AsyncGenerator[Sighting, None]:
        """The one sighting there is."""
        yield sighting_of(self._instances.get(component, ()))
        await asyncio.Event().wait()

    async def instances(self) -> Snapshot:
        """All instances, by component."""
        return self._instances

    def __repr__(self) -> str:
        return f"StaticComponentRegistry({', '.join(self._instances) or 'empty'})"


def _grouped(component: str, addresses: Iterable[ChannelAddress]) -> Iterator[Instance]:
    groups: dict[str, dict[str, ChannelAddress]] = {}
    for address in addresses:
        try:
            origin = origin_of(address.url)
        except ValueError as error:
            raise ValueError(f"component {component!r}, channel {address.channel}: {error}") from error
        group = groups.setdefault(origin, {})
        if address.channel in group:
            raise ValueError(
                f"component {component!r}: {without_secrets(group[address.channel].url)} and "
                f"{without_secrets(address.url)} are both "
                f"{address.channel} of the instance {origin}; an instance has one URL for each channel"
            )
        group[address.channel] = address
    for origin, group in groups.items():
        yield Instance(id=origin, component=component, addresses=tuple(group.values()))
