"""A component as one mesh sees it: its instances, its channels, and the choice of an endpoint for each call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias

from meshcore.client.why import unavailable_error
from meshcore.core.call import Call
from meshcore.core.context.call_scope import failure_of
from meshcore.core.description import ComponentDescription
from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.core.instances import Absent, Bound, Endpoint, Failed, Instance, Pending, Sighting
from meshcore.ports.channel import Channel
from meshcore.ports.registry import ComponentRegistry
from meshcore.traffic.channel_order import order_of_choice
from meshcore.traffic.rendezvous import subset
from meshcore.traffic.traffic import Traffic

log = logging.getLogger(__name__)

_MOST_INSTANCES = 100
"""Instances of one component that a mesh uses. More connections cost both sides, and no longer spread load better."""

MakeChannel = Callable[[str, ComponentDescription], Awaitable[Channel]]

Choice: TypeAlias = tuple[str, Channel, Endpoint, float]
"""Where one attempt is sent: the channel's name, the channel, the endpoint, and the time of the choice."""


class Destination:
    """Follows one component in the registry, and chooses the endpoint for each attempt of a call.

    A mesh has one for each component, which all proxies share.

    Args:
        component: the component.
        registry: reports its instances.
        known: names of the channels that can be used here.
        make: makes a channel to the component.
        traffic: what all calls to the component share.
        client: identifies this process, so that clients use different subsets of very many instances.
        preferred: gives the mesh's preferred channel, empty if it has none.

    Attributes:
        sighting: what the registry reported last.
        instances: those that are used. While the registry fails, the last that it reported.
        offered: the channels that instances offer and that are known here, see `order_of_choice`.
        channels: those that are open, by name.
        selector_errors: by the name of a channel, why its URL selector did not accept the current instances.
        preferred: as given.
        hint: what else an error says if nobody offers the component.
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
        self.registry = registry
        self.traffic = traffic
        self.sighting: Sighting = Pending()
        self.instances: tuple[Instance, ...] = ()
        self.offered: tuple[str, ...] = ()
        self.channels: dict[str, Channel] = {}
        self.selector_errors: dict[str, str] = {}
        self._known = known
        self._make = make
        self._client = client
        self.preferred = preferred
        self.hint = ""
        self._endpoints: dict[str, dict[str, Endpoint]] = {}  # by channel and instance
        self._usable: dict[str, Channel] = {}  # the open channels whose URL selector knows the current instances
        self._making = asyncio.Lock()
        self._closed = False
        self._changed = asyncio.Event()
        self._doubted: set[str] = set()
        self._doubts = asyncio.Event()

    async def follow(self) -> None:
        """Watch the registry until cancelled."""
        while True:
            try:
                async with aclosing(self.registry.watch(self.component.name)) as sightings:
                    async for sighting in sightings:
                        self.update(sighting)
            except Exception as error:
                log.exception("watching %s failed; trying again", self.component.name)
                self.update(Failed(error))
            await asyncio.sleep(1.0)

    def update(self, sighting: Sighting) -> None:
        """Apply what the registry reports. Raises nothing: an error here would end the whole mesh."""
        match sighting:
            case Bound(instances):
                self.instances = instances
            case Absent():
                self.instances = ()
            case Failed(cause) if self.instances:  # the registry fails, which does not mean that the instances do
                log.warning("registry cannot tell who offers %s, keeping what is known: %s", self.component.name, cause)
                return
            case Failed() | Pending():
                pass
        self.sighting = sighting
        self._limit_instances()
        self.traffic.update([instance.id for instance in self.instances if instance.weight > 0])
        self.offered = order_of_choice(self.instances, self._known)
        for name, channel in self.channels.items():
            self._update_selector(name, channel)
        if isinstance(sighting, Pending):
            self._usable.clear()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def check_doubted(self) -> None:
        """Ask the servers of instances that seem to hang whether they answer, until cancelled."""

        def doubt(instance: str) -> None:
            self._doubted.add(instance)
            self._doubts.set()

        self.traffic.ejection.check = doubt
        try:
            while True:
                await self._doubts.wait()
                self._doubts.clear()
                doubted = tuple(self._doubted)
                await asyncio.gather(*map(self._check, doubted))
                self._doubted.difference_update(doubted)
        finally:
            self.traffic.ejection.check = None

    async def _check(self, instance: str) -> None:
        live = True  # also if no channel can tell: then a call is risked
        for name, channel in tuple(self.channels.items()):
            endpoint = self._endpoints[name].get(instance)
            try:
                found = None if endpoint is None else await channel.is_alive(endpoint)
            except Exception:  # of a user's own channel: an error here would end the whole mesh
                log.exception("channel %r: asking whether %s is alive failed", name, instance)
                continue
            if found is not None:
                live = found
                break
        self.traffic.checked(instance, live=live)

    def _limit_instances(self) -> None:
        if len(self.instances) > _MOST_INSTANCES:
            used = subset([instance.id for instance in self.instances], self._client, _MOST_INSTANCES)
            self.instances = tuple(instance for instance in self.instances if instance.id in used)

    def _update_selector(self, name: str, channel: Channel) -> None:
        endpoints = (instance.endpoint(name) for instance in self.instances if instance.weight > 0)
        found = tuple(endpoint for endpoint in endpoints if endpoint is not None)
        self._endpoints[name] = {endpoint.instance: endpoint for endpoint in found}
        selector = channel.selector
        try:
            selector.update(found, self.traffic.clock())
        except BaseException as error:  # a user's own selector: its channel is not used until it accepts an update
            if failure_of(error) is None:
                raise
            component = self.component.name
            log.exception("channel %r: %s did not take over the instances of %s", name, type(selector), component)
            self._usable.pop(name, None)
            self.selector_errors[name] = f"{type(selector).__name__}.update raised {type(error).__name__}: {error}"
        else:
            self.selector_errors.pop(name, None)
            self._usable[name] = channel

    async def wait(self) -> None:
        """Return when the sighting changes.

        Raises:
            LocalError: the mesh has stopped.
        """
        await self._changed.wait()
        if self._closed:
            raise self._stopped()

    def _stopped(self) -> LocalError:
        return LocalError(Code.FAILED_PRECONDITION, f"component {self.component.name!r}: the mesh has stopped")

    def choose(self, call: Call, required: str) -> Choice | None:
        """Choose channel and endpoint for one attempt of a call.

        Args:
            call: instances that it has tried are not chosen.
            required: the channel that must be used, empty for any.

        Returns:
            None if the choice has to wait: await `prepare`, then choose again.

        Raises:
            CommunicationError: UNAVAILABLE or RESOURCE_EXHAUSTED, no endpoint is left.
        """
        traffic, offered = self.traffic, self.offered
        if offered and not traffic.ejection.avoided:  # mostly: no instance is left out, and the first channel will do
            name = required
            if not name:
                preferred = self.preferred()
                name = preferred if preferred in offered else offered[0]
            channel = self._usable.get(name)
            if channel is not None:
                now = traffic.clock()
                endpoint = channel.selector.select(call, call.tried, now)
                if endpoint is not None:
                    return name, channel, endpoint, now
        return self._choose(call, required)

    def _choose(self, call: Call, required: str) -> Choice | None:
        """Do what `choose` does, in all cases; that takes 0.4 us more."""
        if isinstance(self.sighting, Pending):
            return None
        traffic, tried = self.traffic, call.tried
        ejection = traffic.ejection
        avoided = ejection.avoided
        names = (required,) if required else self.offered_channels()
        # If no other instance is left, an ejected one is better than none. One that has too many calls stays excluded.
        passes = (avoided.union(tried), ejection.full.union(tried)) if avoided else (tried,)
        for excluded in passes:
            for name in names:
                channel = self.channels.get(name)
                if channel is None:
                    return None
                if name in self.selector_errors:
                    continue
                now = traffic.clock()
                endpoint = self._endpoint_to_probe(name, call, now) if avoided else None
                endpoint = endpoint or channel.selector.select(call, excluded, now)
                if endpoint is not None:
                    return name, channel, endpoint, now
        raise self.unavailable_error(required, full=bool(ejection.full.difference(tried)))

    async def prepare(self, required: str) -> None:
        """Do what `choose` waits for: get the first sighting, or open the next channel.

        Raises:
            LocalError: the mesh has stopped.
        """
        while isinstance(self.sighting, Pending):
            await self.wait()
        for name in (required,) if required else self.offered_channels():
            if name not in self.channels:
                await self._open_channel(name)
                return

    def offered_channels(self) -> tuple[str, ...]:
        """The channels that instances offer and that are known here; the preferred one first."""
        preferred, offered = self.preferred(), self.offered
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
                self._update_selector(name, channel)
                self.channels[name] = channel

    def unavailable_error(self, required: str, *, full: bool = False) -> CommunicationError:
        """The error that says why no endpoint can be asked; see `why.unavailable_error`."""
        return unavailable_error(self, required, full=full)

    async def aclose(self) -> None:
        """Close all channels, also if closing one fails. Tasks that wait for a sighting get an error."""
        self._closed = True
        self._changed.set()
        for channel in self.channels.values():
            try:
                await channel.aclose()
            except Exception:
                log.exception("closing channel %r failed", channel)
