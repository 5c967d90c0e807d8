"""The registry of fixed addresses: for deployments whose addresses compose, DNS or a load balancer provide."""

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
    """Reports fixed instances: `StaticComponentRegistry({"orders": [ChannelAddress("rest", "http://h1:8000")]})`.

    The addresses of a component with the same host and port are one instance, with the id `host:port`. The registry
    does not check whether instances live. Retries and ejection handle those that do not.

    A server may announce itself, which changes nothing. So it needs no other code than with another registry.

    Args:
        components: addresses by component, in the order of preference.

    Raises:
        ValueError: an address has no scheme or host, or one instance is given two URLs for the same channel.
    """

    scheme: ClassVar[str] = "static"
    reaches_other_machines: ClassVar[bool] = False  # it announces nothing
    written_by_operator: ClassVar[bool] = True

    def __init__(self, components: Mapping[str, Iterable[ChannelAddress]]) -> None:
        self._instances = snapshot_of(
            instance for component, addresses in components.items() for instance in _grouped(component, addresses)
        )

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make a registry from `static:orders=dispatch-json(http://h1:8000),rest(http://h1:8000);stock=...`."""
        return cls(parse_addresses(url))

    @asynccontextmanager
    async def announce(self, instance: Instance) -> AsyncGenerator[None, None]:
        """Do nothing: the addresses are fixed."""
        _logger.info("%s of %s is not announced: the registry has fixed addresses", instance.id, instance.component)
        yield

    async def watch(self, component: str) -> AsyncGenerator[Sighting, None]:
        """Yield the only sighting."""
        yield sighting_of(self._instances.get(component, ()))
        await asyncio.Event().wait()

    async def instances(self) -> Snapshot:
        """Return all instances, by component."""
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
