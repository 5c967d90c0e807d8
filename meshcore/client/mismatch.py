"""Warns when an instance serves another contract than the one that this process was written for.

Instances announce a digest for each service. Only if one differs is the contract fetched from the instance, in the
background. Calls are not affected: a call that does not fit gets its error from the server, and calls of unchanged
methods succeed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import msgspec

from meshcore.client.connections.sessions import open_session
from meshcore.client.contract_fetch import fetch_component
from meshcore.client.destination import Destination
from meshcore.contract.changes import Change, compare_services
from meshcore.contract.contract import ComponentContract, digests_of
from meshcore.contract.reader import component_contract
from meshcore.contract.stub import StubComponent
from meshcore.core.description import ComponentDescription, Method
from meshcore.core.errors import LocalError
from meshcore.core.instances import Instance
from meshcore.ports.channel import ChannelTLS

log = logging.getLogger(__name__)

_MOST_CHANGES = 20
"""Changes that are listed in one log record."""


class Mismatch(msgspec.Struct, frozen=True):
    """How one version of a component differs from the one declared here.

    Attributes:
        services: names of the services that differ.
        changes: what differs.
        reason: why it is not known what differs; empty if it is known.
    """

    services: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    reason: str = ""

    def differences(self, method: Method) -> list[str]:
        """The differences that concern a method or its whole service, as text."""
        if self.reason and method.service in self.services:
            return [f"{method.service} differs from what is declared here ({self.reason})"]
        subjects = {str(method), method.service}
        return [_text(change) for change in self.changes if change.subject in subjects]


class Mismatches:
    """Compares the versions of one component; each digest stands for a version.

    Args:
        component: as it is declared here.
        max_body: bytes of the largest contract that is read.
        tls: of this process, None without an identity.
    """

    def __init__(self, component: ComponentDescription, max_body: int, tls: ChannelTLS | None = None) -> None:
        self._component = component
        self._max_body = max_body
        self._tls = tls
        self._declared: ComponentContract | None = None
        self._by_digest: dict[str, Mismatch] = {"": Mismatch()}
        self._comparing = asyncio.Lock()

    async def follow(self, destination: Destination) -> None:
        """Compare each new instance of a destination, until cancelled."""
        if issubclass(self._component.interface, StubComponent):
            return
        while True:
            instances = destination.instances
            await self.compare(instances)
            if destination.instances is instances:
                try:
                    await destination.wait()
                except LocalError:  # the mesh has stopped
                    return

    async def compare(self, instances: Iterable[Instance]) -> None:
        """Compare the contracts of these instances; log each version that differs once."""
        async with self._comparing:
            for instance in instances:
                if instance.digest not in self._by_digest:
                    try:
                        found = await self._compare(instance)
                    except Exception as error:
                        log.exception("comparing the contract of %s failed", instance.id)
                        found = Mismatch(reason=f"comparing failed: {error}")
                    self._by_digest[instance.digest] = found
                    _log(instance, found)

    def differences(self, instances: Iterable[Instance], method: Method) -> tuple[str, ...]:
        """The differences of these instances that concern a method, as far as they were compared."""
        digests = {instance.digest: None for instance in instances}
        found = (self._by_digest[digest].differences(method) for digest in digests if digest in self._by_digest)
        return tuple(dict.fromkeys(text for texts in found for text in texts))

    async def _compare(self, instance: Instance) -> Mismatch:
        if self._declared is None:
            self._declared = component_contract(self._component)
        declared = self._declared
        served_digests = digests_of(instance.digest)
        services = tuple(each.name for each in declared.services if served_digests.get(each.name) != each.digest)
        if not served_digests or not services:
            return Mismatch()
        try:
            async with open_session(self._tls) as session:
                served = await fetch_component(session, instance, self._max_body)
        except ValueError as error:
            return Mismatch(services, reason=str(error))
        by_name = {service.name: service for service in served.services}
        changes = [
            change
            for service in declared.services
            if service.name in services
            for change in compare_services(declared.name, service, by_name.get(service.name))
        ]
        return Mismatch(services, tuple(changes))


def _log(instance: Instance, found: Mismatch) -> None:
    subject = f"instance {instance.id} of {instance.component}"
    if found.reason:
        names = ", ".join(found.services)
        log.warning("%s serves another version of %s than is declared here (%s)", subject, names, found.reason)
    elif found.changes:
        breaking = sum(change.breaking for change in found.changes)
        count = f"{breaking} of them breaking" if breaking else "none of them breaking"
        # Breaking changes come first, as the list may be cut.
        texts = [_text(change) for change in sorted(found.changes, key=lambda change: not change.breaking)]
        if len(texts) > _MOST_CHANGES:
            texts[_MOST_CHANGES:] = [f"... and {len(texts) - _MOST_CHANGES} more"]
        log.warning(
            "%s serves another version than is declared here, changes: %d, %s\n  %s",
            subject,
            len(found.changes),
            count,
            "\n  ".join(texts),
        )


def _text(change: Change) -> str:
    return f"{'breaking' if change.breaking else 'compatible'}: {change}"
