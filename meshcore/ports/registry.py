"""The port of registries, where instances are announced and watched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import ClassVar, Self

from meshcore.core.instances import Instance, Sighting
from meshcore.core.masking import without_secrets


class ComponentRegistry(ABC):
    """Announces and watches instances.

    A registry is an async context manager. The mesh enters it before its first use, and leaves it last. A registry that
    several meshes share counts its users.
    """

    scheme: ClassVar[str] = ""
    """The scheme of the setting `MESHCORE_REGISTRY` that selects this registry."""

    reaches_other_machines: ClassVar[bool] = True
    """Whether clients on other machines see the instances, and so must be able to resolve their URLs."""

    written_by_operator: ClassVar[bool] = False
    """Whether the operator writes all addresses, so that nobody can plant one.

    Then a server may be no part of the mesh, and prove to be the host of its URL instead of a component.
    """

    def server_host(self) -> str:
        """The host of the server that the registry asks, empty if there is none. Without I/O.

        A server that listens on all interfaces advertises its address on the way there.
        """
        return ""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make a registry from a setting.

        Raises:
            ValueError: the URL is invalid.
        """
        if url.partition(":")[2].strip("/"):
            msg = f"{cls.scheme}: takes nothing after the colon, got {without_secrets(url)!r}"
            raise ValueError(msg)
        return cls()

    async def __aenter__(self) -> Self:
        """Start the registry."""
        return self

    async def __aexit__(  # noqa: B027 - not every registry has something to stop
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the registry."""

    def __repr__(self) -> str:
        """Describe the registry for people, without secrets. Two different registries should look different."""
        return f"{type(self).__name__}()"

    @abstractmethod
    def announce(self, instance: Instance) -> AbstractAsyncContextManager[None]:
        """Announce an instance while the context lasts.

        Watches see it when the context is entered, and lose it when the context is left, or soon after the process has
        died.

        Raises:
            CommunicationError: the registry cannot be reached, or refuses.
        """

    def objection(self, instance: Instance) -> str:  # noqa: ARG002 - most can hold any
        """Return why an instance can never be announced here; empty if it can. Called at the start. Without I/O."""
        return ""

    @abstractmethod
    def watch(self, component: str) -> AsyncGenerator[Sighting, None]:
        """Yield a sighting of a component after each change. Each one contains all instances.

        The first one comes as soon as the registry has read the component. A slow consumer gets the newest sighting
        and misses older ones. The watch does not end by itself. If the registry cannot be read, it yields `Failed`, and
        goes on.
        """

    @abstractmethod
    async def instances(self) -> Mapping[str, tuple[Instance, ...]]:
        """Return all instances that are announced now, by component.

        Raises:
            CommunicationError: the registry cannot be read.
        """
