"""The base classes of components: lifecycle, status, health and addresses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from enum import Enum

from meshcore.core.instances import ChannelAddress
from meshcore.core.marks import find_mark
from meshcore.declare.health import HealthCheckManager
from meshcore.declare.http import HttpMark
from meshcore.declare.services import ComponentMark


class ComponentStatus(Enum):
    """The state of a component."""

    VIRGIN = "virgin"
    RUNNING = "running"
    STOPPED = "stopped"


class Component(ABC):
    """The base of component interfaces. Implementations derive from `AbstractComponent` as well."""

    @abstractmethod
    def startup(self) -> Awaitable[None] | None:
        """Called at the start, when all objects are made and before calls arrive. Awaited if it is async."""

    @abstractmethod
    def shutdown(self) -> Awaitable[None] | None:
        """Called at the end, after the last call and before the clean-up of objects. Awaited if it is async."""

    @abstractmethod
    def get_addresses(self, base_url: str) -> list[ChannelAddress]:
        """The channels and URLs under which the component can be reached, the preferred one first.

        Args:
            base_url: the URL that this process advertises.
        """

    @abstractmethod
    def get_status(self) -> ComponentStatus:
        """The state of the component."""

    @abstractmethod
    async def get_health(self) -> HealthCheckManager.Health:
        """The health of the component."""


class AbstractComponent(Component):
    """The base of component implementations, with defaults for the methods of `Component`."""

    status: ComponentStatus = ComponentStatus.VIRGIN
    """Set by the mesh."""

    health_checks: HealthCheckManager
    """All health checks of the mesh; set by the mesh before `startup`."""

    def startup(self) -> Awaitable[None] | None:
        """Do nothing."""
        return None

    def shutdown(self) -> Awaitable[None] | None:
        """Do nothing."""
        return None

    def get_addresses(self, base_url: str) -> list[ChannelAddress]:
        """All channels that the component can serve: dispatch, REST if a method has an HTTP mapping, and the stream."""
        channels = ["dispatch-msgpack", "dispatch-json"]
        marks = [mark for cls in type(self).__mro__ if (mark := find_mark(cls, ComponentMark)) is not None]
        if any(_is_mapped(service) for mark in marks for service in mark.services):
            channels.append("rest")
        channels.append("stream-msgpack")
        return [ChannelAddress(channel, base_url) for channel in channels]

    def get_status(self) -> ComponentStatus:
        """The state of the component."""
        return self.status

    async def get_health(self) -> HealthCheckManager.Health:
        """The results of all health checks, and the worst status of them."""
        return await self.health_checks.check()


def _is_mapped(service: type) -> bool:
    members = (member for cls in service.__mro__ for member in vars(cls).values())
    return any(find_mark(member, HttpMark) is not None for member in members)
