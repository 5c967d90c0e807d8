"""Hands out the proxies of services: one for each interface, channel and policy."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache
from threading import RLock
from typing import Any, TypeAlias
from weakref import WeakSet, WeakValueDictionary

from meshcore.client.bridge import Bridge
from meshcore.client.policies import merged
from meshcore.client.proxy import ProxyClass, redirect
from meshcore.core.call import Call, Handler, StreamHandler
from meshcore.core.context.threads import forked_error
from meshcore.core.errors import Code, LocalError
from meshcore.core.policy import Policy
from meshcore.core.streaming.handler import without_items
from meshcore.mesh.blueprint import Blueprint
from meshcore.mesh.handlers import Handlers
from meshcore.ports.channel import LOCAL

_Key: TypeAlias = tuple[type, str, Policy | None]
"""Interface, channel, and the policy of the caller."""

_Build: TypeAlias = Callable[[type, str, Policy | None], tuple[Handler, StreamHandler]]

_RECENT = 256
"""Proxies with a policy that are kept though nobody may use them: 3 KB each, while making another one takes 100 us."""


class Proxies:
    """Makes proxies and keeps them.

    Injected objects get their proxies while the mesh is being built, before interceptors and implementations exist.
    So all proxies refuse calls until `connected` is entered, and refuse them again when it is left.

    Args:
        blueprint: of the mesh.
        bridge: runs the calls of `def` methods, and those that are made on another loop.
    """

    def __init__(self, blueprint: Blueprint, bridge: Bridge) -> None:
        self._blueprint = blueprint
        self._bridge = bridge
        self._build: _Build = _refuse_starting
        self._lock = RLock()  # threads may make proxies with a policy while the mesh stops
        self._classes: dict[type, ProxyClass] = {}
        self._kept: dict[tuple[type, str], Any] = {}  # those without a policy
        # The others are not kept for ever: a policy may be made for a single call, from the time that is left for it.
        self._alive: WeakValueDictionary[_Key, Any] = WeakValueDictionary()
        self._variant = lru_cache(_RECENT)(self._find)
        self._pid = os.getpid()
        _ALL.add(self)

    def proxy(self, kind: type, preferred_channel: str = "") -> Any:
        """The proxy of a service.

        Raises:
            ConfigurationError: the interface cannot be called.
            LocalError: this is no service interface, or there is no channel of that name.
        """
        if not self._blueprint.is_service(kind):
            name = getattr(kind, "__qualname__", repr(kind))
            services = ", ".join(each.__qualname__ for each in self._blueprint.services_of(kind))
            mend = f"ask for {services}" if services else "decorate it with @service()"
            raise LocalError(Code.INVALID_ARGUMENT, f"{name} is no service interface; {mend}")
        channel = self._blueprint.channel_for(kind, preferred_channel)
        found = self._kept.get((kind, channel))
        if found is None:
            self._blueprint.check_service(kind, channel)
            found = self._kept[kind, channel] = self._find(kind, channel, None)
        return found

    def _find(self, kind: type, channel: str, policy: Policy | None) -> Any:
        """The proxy for exactly that; it is made if there is none."""
        key = (kind, channel, policy)
        with self._lock:
            found = self._alive.get(key)
            if found is None:
                found = self._alive[key] = self._make(*key)
        return found

    def _make(self, kind: type, channel: str, policy: Policy | None) -> Any:
        cls = self._classes.get(kind)
        if cls is None:
            cls = self._classes[kind] = ProxyClass(self._blueprint.catalog.service(kind))
        handler, streams = self._build(kind, channel, policy)
        target = "in this process" if channel == LOCAL else f"over {channel or 'any channel'}"
        target += f" with {policy}" if policy else ""

        def variant(other: Policy) -> Any:
            return self._variant(kind, channel, merged(policy, other))

        return cls.make(handler, self._bridge, target, variant, streams)

    @contextmanager
    def connected(self, handlers: Handlers) -> Generator[None]:
        """While the context lasts, proxies pass their calls to handlers that are built for them."""
        try:
            self._redirect_all(handlers.build)
            yield
        finally:
            self._redirect_all(self._refuse_stopped)

    def _redirect_all(self, build: _Build) -> None:
        with self._lock:
            self._build = build
            for (kind, channel, policy), proxy in list(self._alive.items()):
                redirect(proxy, *build(kind, channel, policy))

    def _refuse_stopped(self, *_: object) -> tuple[Handler, StreamHandler]:
        return self._stopped, without_items(self._stopped)

    async def _stopped(self, call: Call) -> Any:
        raise self._bridge.stopped(call.method)

    def disown(self) -> None:
        """Refuse all calls. Called in a forked process: loop and connections are those of its parent."""

        async def forked(call: Call) -> Any:
            raise forked_error(f"{call.method} was called", self._pid)

        self._lock = RLock()  # a thread of the parent may have held the old one
        self._redirect_all(lambda _kind, _channel, _policy: (forked, without_items(forked)))


def _disown_all() -> None:
    for proxies in tuple(_ALL):
        proxies.disown()


_ALL: WeakSet[Proxies] = WeakSet()

if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork either
    os.register_at_fork(after_in_child=_disown_all)


def _refuse_starting(*_: object) -> tuple[Handler, StreamHandler]:
    return _starting, without_items(_starting)


async def _starting(call: Call) -> Any:
    text = f"{call.method} was called while the mesh is being built; call services from startup() on"
    raise LocalError(Code.FAILED_PRECONDITION, text)
