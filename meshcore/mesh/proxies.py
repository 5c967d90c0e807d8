"""Hands out proxies: over the implementation if it is in this process, else over a destination to where it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import lru_cache
from math import inf
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from meshcore.client.balancer import Balancer
from meshcore.client.deadline import LocalDeadline
from meshcore.client.destination import Destination
from meshcore.client.policies import Policies, merged
from meshcore.client.proxy import Bridge, ProxyClass
from meshcore.client.stack import Limit, client_stack
from meshcore.core.call import Call, Handler, Interceptors, compose
from meshcore.core.description import ComponentDescription
from meshcore.core.errors import Code, ConfigurationError, LocalError
from meshcore.core.marks import find_mark
from meshcore.core.policy import Policy
from meshcore.core.suggest import did_you_mean
from meshcore.declare.services import ServiceMark
from meshcore.mesh.catalog import Catalog

_Key: TypeAlias = tuple[type, str, Policy | None]
"""Interface, channel, and what a caller says of the numbers."""

_RECENT = 256
"""Proxies with a policy that are kept though nobody may have them: so many of 3 KB, and the next is 100 us of work."""

LOCAL = "local"
"""The name of the channel that is no channel: the implementation itself."""


class Proxies:
    """Makes proxies, one per interface and channel.

    Proxies are injected while the mesh is built, before there are interceptors or implementations: they get their
    handler when `open` is called.
    """

    def __init__(
        self,
        catalog: Catalog,
        local: Collection[type],
        bridge: Bridge,
        destination: Callable[[ComponentDescription], Destination],
        known: frozenset[str],
        policies: Policies,
    ) -> None:
        self._catalog = catalog
        self._local = local
        self._bridge = bridge
        self._destination = destination
        self._known = known
        self._policies = policies
        self._classes: dict[type, ProxyClass] = {}
        self._proxies: dict[tuple[type, str], Any] = {}
        # Those with a policy are not kept for ever: what is left of a caller's time is another number each time.
        self._variants: WeakValueDictionary[_Key, Any] = WeakValueDictionary()
        self._variant = lru_cache(_RECENT)(self._living_variant)
        self._build: Callable[[type, str, Policy | None], Handler] | None = None

    def is_service(self, kind: type) -> bool:
        """Whether the type is a service interface."""
        return find_mark(kind, ServiceMark) is not None

    def why_not(self, kind: type, preferred_channel: str) -> str:
        """Why there can be no proxy for a service; empty if there can."""
        try:
            self._check(kind, preferred_channel)
        except ConfigurationError as error:
            return "; ".join(error.problems)
        except LocalError as error:
            return error.message
        return ""

    def proxy(self, kind: type, preferred_channel: str = "") -> Any:
        """The proxy of a service.

        Raises:
            ConfigurationError: the interface cannot be called.
            LocalError: no channel of that name.
        """
        if not self.is_service(kind):
            name = getattr(kind, "__qualname__", repr(kind))
            raise LocalError(Code.INVALID_ARGUMENT, f"{name} is no service interface; decorate it with @service()")
        wanted = self._wanted(kind, preferred_channel)
        found = self._proxies.get((kind, wanted))
        if found is None:
            self._check(kind, wanted)
            found = self._proxies[kind, wanted] = self._make(kind, wanted, None)
        return found

    def _living_variant(self, kind: type, wanted: str, policy: Policy) -> Any:
        found = self._variants.get((kind, wanted, policy))
        if found is None:
            found = self._variants[kind, wanted, policy] = self._make(kind, wanted, policy)
        return found

    def _make(self, kind: type, wanted: str, policy: Policy | None) -> Any:
        cls = self._classes.get(kind)
        if cls is None:
            cls = self._classes[kind] = ProxyClass(self._catalog.service(kind))
        handler = self._build(kind, wanted, policy) if self._build else _starting
        target = "in this process" if wanted == LOCAL else f"over {wanted or 'any channel'}"
        target += f" with {policy}" if policy else ""

        def variant(other: Policy) -> Any:
            return self._variant(kind, wanted, merged(policy, other))

        return cls.make(handler, self._bridge, target, variant)

    def _wanted(self, interface: type, preferred_channel: str) -> str:
        return LOCAL if interface in self._local and not preferred_channel else preferred_channel

    def _check(self, interface: type, preferred_channel: str) -> None:
        wanted = self._wanted(interface, preferred_channel)
        if wanted != LOCAL:
            self.check_channel(wanted)
            self._catalog.component_of(interface)
        elif interface not in self._local:
            text = f"{interface.__qualname__} is not implemented in this process, so there is no channel 'local' to it"
            raise LocalError(Code.UNAVAILABLE, text)

    def _component_of_local(self, interface: type) -> ComponentDescription | None:
        """Whose word governs calls within the process, None if nobody's: an override may take the place of anything."""
        try:
            return self._catalog.component_of(interface)
        except ConfigurationError:
            return None

    def check_channel(self, name: str) -> None:
        """See that a channel has that name; the empty name stands for any.

        Raises:
            LocalError: none does.
        """
        if name and name not in {*self._known, LOCAL}:
            raise LocalError(Code.INVALID_ARGUMENT, f"no channel {name!r}{did_you_mean(name, {*self._known, LOCAL})}")

    def open(self, served: Handler, interceptors: Interceptors, limit: Limit) -> None:
        """Give all proxies their handlers."""
        local = compose(served, *interceptors.client)

        def build(interface: type, wanted: str, policy: Policy | None) -> Handler:
            service = self._catalog.service(interface)
            if wanted == LOCAL:
                rules = self._policies.local_rules(self._component_of_local(interface), service, policy)
                if all(each.timeout == inf for each in rules.values()):
                    return local
                return compose(local, LocalDeadline(rules, time.monotonic))
            component = self._catalog.component_of(interface)
            destination = self._destination(component)
            return client_stack(
                Balancer(destination, wanted),
                destination.traffic,
                rules=self._policies.rules(component, service, policy),
                interceptors=interceptors.client,
                limit=limit,
                resilient=self._policies.resilient,
            )

        self._build = build
        for (interface, wanted), proxy in self._proxies.items():
            proxy._mesh_handler = build(interface, wanted, None)  # noqa: SLF001 - a proxy's class is generated here
        for (interface, wanted, policy), proxy in self._variants.items():
            proxy._mesh_handler = build(interface, wanted, policy)  # noqa: SLF001

    def close(self) -> None:
        """From here on every call fails, at once and with the reason."""
        self._build = lambda interface, wanted, policy: _stopped  # noqa: ARG005
        living = (found() for found in self._variants.valuerefs())  # a copy: threads may make another one meanwhile
        for proxy in (*self._proxies.values(), *living):
            if proxy is not None:
                proxy._mesh_handler = _stopped  # noqa: SLF001


async def _starting(call: Call) -> Any:
    text = f"{call.method} was called while the mesh is being built; call services from startup() on"
    raise LocalError(Code.FAILED_PRECONDITION, text)


async def _stopped(call: Call) -> Any:
    raise LocalError(Code.FAILED_PRECONDITION, f"{call.method} was called, but the mesh has stopped")
