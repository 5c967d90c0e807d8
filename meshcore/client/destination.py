"""A component as one mesh sees it: who offers it now, over which channels, and which endpoint takes the next call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias

from meshcore.core.call import Call
from meshcore.core.description import ComponentDescription
from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.core.instances import Absent, Bound, Endpoint, Failed, Instance, Pending, Sighting
from meshcore.ports.channel import Channel
from meshcore.ports.registry import ComponentRegistry
from meshcore.traffic.rendezvous import subset
from meshcore.traffic.traffic import Traffic

log = logging.getLogger(__name__)

_MANY = 100
"""Instances of a component that one mesh uses."""

MakeChannel = Callable[[str, ComponentDescription], Awaitable[Channel]]

Choice: TypeAlias = tuple[str, Channel, Endpoint, float]
"""Where one attempt is sent: the channel's name, the channel, the endpoint, and the time of the choice."""


class Destination:
    """Follows one component in the registry and keeps its channels' selectors up to date.

    One per component and mesh, however many proxies there are.

    Attributes:
        component: the component.
        traffic: what all calls to it share.
        sighting: what the registry reported last.
        instances: the ones in use; last known good, if the registry cannot tell.
        channels: those that were made so far, by name.
        broken: why the URL selector of a channel did not take over the instances as they are now, by name.
    """

    def __init__(
        self,
        component: ComponentDescription,
        registry: ComponentRegistry,
        known: frozenset[str],
        make: MakeChannel,
        traffic: Traffic,
        client: str = "",
        *,
        preferred: Callable[[], str] = lambda: "",
    ) -> None:
        self.component = component
        self.traffic = traffic
        self._client = client
        self._preferred = preferred
        self.sighting: Sighting = Pending()
        self._registry = registry
        self._known = known
        self._make = make
        self.instances: tuple[Instance, ...] = ()
        self._offered: tuple[str, ...] = ()
        self.channels: dict[str, Channel] = {}
        self.broken: dict[str, str] = {}
        self._endpoints: dict[str, dict[str, Endpoint]] = {}
        self._making = asyncio.Lock()
        self._closed = False
        self._changed = asyncio.Event()

    async def follow(self) -> None:
        """Watch the registry until cancelled."""
        while True:
            try:
                async with aclosing(self._registry.watch(self.component.name)) as sightings:
                    async for sighting in sightings:
                        self.see(sighting)
            except Exception as error:
                log.exception("watching %s failed; trying again", self.component.name)
                self.see(Failed(error))
            await asyncio.sleep(1.0)

    def see(self, sighting: Sighting) -> None:
        """Take over what the registry reports. Raises nothing: who follows it would end the whole mesh by that."""
        match sighting:
            case Bound(instances):
                self.instances = instances
            case Absent():
                self.instances = ()
            case Failed(cause) if self.instances:  # last known good: the registry's trouble is not the instances'
                log.warning("registry cannot tell who offers %s, keeping what is known: %s", self.component.name, cause)
                return
            case Failed() | Pending():
                pass
        self.sighting = sighting
        self._subset()
        self.traffic.update([instance.id for instance in self.instances])
        names = [address.channel for instance in self.instances for address in instance.addresses]
        self._offered = tuple(name for name in dict.fromkeys(names) if name in self._known)
        for name, channel in self.channels.items():
            self._push(name, channel)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _subset(self) -> None:
        """Keep to some of very many instances: connections cost both sides, and load is spread by then."""
        if len(self.instances) > _MANY:
            used = subset([instance.id for instance in self.instances], self._client, _MANY)
            self.instances = tuple(instance for instance in self.instances if instance.id in used)

    async def wait(self) -> None:
        """Return when the sighting changes.

        Raises:
            LocalError: the mesh has stopped, so it never will.
        """
        await self._changed.wait()
        if self._closed:
            raise self._stopped()

    def _stopped(self) -> LocalError:
        """Why nothing can be asked any more."""
        return LocalError(Code.FAILED_PRECONDITION, f"component {self.component.name!r}: the mesh has stopped")

    def _push(self, name: str, channel: Channel) -> None:
        endpoints = (instance.endpoint(name) for instance in self.instances)
        found = tuple(endpoint for endpoint in endpoints if endpoint is not None)
        self._endpoints[name] = {endpoint.instance: endpoint for endpoint in found}
        selector = channel.selector
        try:
            selector.update(found, self.traffic.clock())
        except Exception as error:  # somebody's own selector: its channel cannot be used until it takes over others
            component = self.component.name
            log.exception("channel %r: %s did not take over the instances of %s", name, type(selector), component)
            self.broken[name] = f"{type(selector).__name__}.update raised {type(error).__name__}: {error}"
        else:
            self.broken.pop(name, None)

    def choose(self, call: Call, wanted: str) -> Choice | None:
        """Choose channel and endpoint for one attempt of a call.

        Args:
            call: instances that it has tried are not chosen.
            wanted: the channel that must be used, empty for any.

        Returns:
            None if the choice has to wait: await `prepare`, then choose again.

        Raises:
            CommunicationError: UNAVAILABLE or RESOURCE_EXHAUSTED, no endpoint is left.
        """
        if isinstance(self.sighting, Pending):
            return None
        traffic, tried = self.traffic, call.tried
        ejection = traffic.ejection
        avoided = ejection.avoided
        names = (wanted,) if wanted else self.candidates()
        # If all others were tried, an ejected instance is better than none. A full one stays full.
        passes = (avoided.union(tried), ejection.full.union(tried)) if avoided else (tried,)
        for excluded in passes:
            for name in names:
                channel = self.channels.get(name)
                if channel is None:
                    return None
                if name in self.broken:
                    continue
                now = traffic.clock()
                endpoint = self._endpoint_to_probe(name, call, now) if avoided else None
                endpoint = endpoint or channel.selector.select(call, excluded, now)
                if endpoint is not None:
                    return name, channel, endpoint, now
        raise self.unavailable(wanted, full=bool(ejection.full.difference(tried)))

    async def prepare(self, wanted: str) -> None:
        """Do what `choose` waits for: get the first sighting, or open the next channel.

        Raises:
            LocalError: the mesh has stopped.
        """
        while isinstance(self.sighting, Pending):
            await self.wait()
        for name in (wanted,) if wanted else self.candidates():
            if name not in self.channels:
                await self._open_channel(name)
                return

    def candidates(self) -> tuple[str, ...]:
        """The channels that are offered and known here: the preferred one, then in the order of the instances."""
        preferred, offered = self._preferred(), self._offered
        if preferred in offered and preferred != offered[0]:
            return (preferred, *offered)
        return offered

    def _endpoint_to_probe(self, channel: str, call: Call, now: float) -> Endpoint | None:
        """The endpoint of an ejected instance that this call should probe, if there is one."""
        endpoints = self._endpoints[channel]
        left = [instance for instance in endpoints if instance not in call.tried]
        repeatable = call.method.idempotent and call.attempt < call.rules.attempts
        due = self.traffic.ejection.due(now, left, repeatable=repeatable)
        return None if due is None else endpoints[due]

    async def _open_channel(self, name: str) -> None:
        """Make the channel of that name, unless another call has just made it."""
        async with self._making:
            if name not in self.channels:
                if self._closed:
                    raise self._stopped()
                channel = await self._make(name, self.component)
                self._push(name, channel)
                self.channels[name] = channel

    def unavailable(self, wanted: str, *, full: bool = False) -> CommunicationError:
        """Why no endpoint can be asked."""
        name, registry = self.component.name, repr(self._registry)
        if full:
            limit = self.traffic.rules.concurrency
            text = f"component {name!r}: every instance has {limit} calls of this mesh in hand (policy: concurrency)"
            return CommunicationError(Code.RESOURCE_EXHAUSTED, text, processed=False)
        over = f" over channel {wanted!r}" if wanted else ""
        match self.sighting:
            case Bound(instances):
                offered = sorted({address.channel for instance in instances for address in instance.addresses})
                missing = wanted not in offered if wanted else not self._offered
                but = f", but not{over or ' over a channel that is known here'}" if missing else ""
                text = f"component {name!r} is offered{but}; its instances offer: {', '.join(offered)}"
                for channel in (wanted,) if wanted else self._offered:
                    if channel in self.broken:
                        text += f"; channel {channel!r} cannot choose one: {self.broken[channel]}"
            case Failed(cause):
                text = f"component {name!r} cannot be looked up{over}: {registry}: {cause}"
            case _:
                text = f"component {name!r} is offered by nobody{over}, says {registry}"
        return CommunicationError(Code.UNAVAILABLE, text, processed=False)

    async def aclose(self) -> None:
        """Close all channels; one failure does not stop the rest. Whoever still waits for a sighting is told."""
        self._closed = True
        self._changed.set()
        for channel in self.channels.values():
            try:
                await channel.aclose()
            except Exception:
                log.exception("closing channel %r failed", channel)
