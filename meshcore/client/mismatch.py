"""Tells when an instance serves another contract than the one that this process was written for.

Instances announce a digest for each service. Only where one differs is the contract fetched, in the background, from
the instance itself. Nothing is decided by it: a call that does not fit gets its error from the server, and calls of
methods that are still the same go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import aiohttp
import msgspec

from meshcore.client.contract_fetch import fetch_component
from meshcore.client.destination import Destination
from meshcore.contract.changes import Change, compare_services
from meshcore.contract.contract import ComponentContract, digests_of
from meshcore.contract.reader import component_contract
from meshcore.core.description import ComponentDescription, Method
from meshcore.core.errors import LocalError
from meshcore.core.instances import Instance

log = logging.getLogger(__name__)

_SHOWN = 20
"""Changes in one record of the log."""


class Mismatch(msgspec.Struct, frozen=True):
    """How one version of a component differs.

    Attributes:
        services: names of those that do.
        changes: what differs.
        reason: why nobody knows what differs, empty if it is known.
    """

    services: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    reason: str = ""

    def remarks(self, method: Method) -> list[str]:
        """What of it concerns a method, if only by concerning its service."""
        if self.reason and method.service in self.services:
            return [f"{method.service} differs from what is declared here ({self.reason})"]
        subjects = {str(method), method.service}
        return [_marked(change) for change in self.changes if change.subject in subjects]


class Mismatches:
    """What is known of the versions of one component, by the digests that their instances announce.

    Args:
        component: as it is declared here.
        max_body: bytes of the largest contract that is read.
    """

    def __init__(self, component: ComponentDescription, max_body: int) -> None:
        self._component = component
        self._max_body = max_body
        self._own: ComponentContract | None = None
        self._known: dict[str, Mismatch] = {"": Mismatch()}
        self._looking = asyncio.Lock()

    async def follow(self, destination: Destination) -> None:
        """Look at whoever comes, until cancelled."""
        while True:
            instances = destination.instances
            await self.look(instances)
            if destination.instances is instances:
                try:
                    await destination.wait()
                except LocalError:  # the mesh has stopped
                    return

    async def look(self, instances: Iterable[Instance]) -> None:
        """Compare what these instances serve, as far as it is not known, and report it once for each version."""
        async with self._looking:
            for instance in instances:
                if instance.digest not in self._known:
                    try:
                        found = await self._compare(instance)
                    except Exception as error:
                        log.exception("comparing the contract of %s failed", instance.id)
                        found = Mismatch(reason=f"comparing failed: {error}")
                    self._known[instance.digest] = found
                    _report(instance, found)

    def remarks(self, instances: Iterable[Instance], method: Method) -> tuple[str, ...]:
        """What is known of a method in the versions of these instances."""
        versions = {instance.digest: None for instance in instances}
        found = (self._known[digest].remarks(method) for digest in versions if digest in self._known)
        return tuple(dict.fromkeys(text for texts in found for text in texts))

    async def _compare(self, instance: Instance) -> Mismatch:
        if self._own is None:
            self._own = component_contract(self._component)
        own = self._own
        theirs = digests_of(instance.digest)
        services = tuple(each.name for each in own.services if theirs.get(each.name) != each.digest)
        if not theirs or not services:
            return Mismatch()
        try:
            async with aiohttp.ClientSession() as session:
                other = await fetch_component(session, instance, self._max_body)
        except ValueError as error:
            return Mismatch(services, reason=str(error))
        by_name = {service.name: service for service in other.services}
        changes = [
            change
            for service in own.services
            if service.name in services
            for change in compare_services(own.name, service, by_name.get(service.name))
        ]
        return Mismatch(services, tuple(changes))


def _report(instance: Instance, found: Mismatch) -> None:
    who = f"instance {instance.id} of {instance.component}"
    if found.reason:
        names = ", ".join(found.services)
        log.warning("%s serves another version of %s than is declared here (%s)", who, names, found.reason)
    elif found.changes:
        breaking = sum(change.breaking for change in found.changes)
        count = f"{breaking} of them breaking" if breaking else "none of them breaking"
        # Breaking ones first, should there be too many.
        texts = [_marked(change) for change in sorted(found.changes, key=lambda change: not change.breaking)]
        if len(texts) > _SHOWN:
            texts[_SHOWN:] = [f"... and {len(texts) - _SHOWN} more"]
        log.warning(
            "%s serves another version than is declared here, changes: %d, %s\n  %s",
            who,
            len(found.changes),
            count,
            "\n  ".join(texts),
        )


def _marked(change: Change) -> str:
    return f"{'breaking' if change.breaking else 'compatible'}: {change}"
