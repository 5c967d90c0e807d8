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
    """Where instances are announced and watched.

    A registry is an async context manager; the mesh enters it before its first use and leaves it last. A registry
    object that several meshes share counts its users.
    """

    scheme: ClassVar[str] = ""
    """The scheme of the setting `MESHCORE_REGISTRY` that selects this registry."""

    reaches_other_machines: ClassVar[bool] = True
    """Whether clients on other machines see what is announced here, and so have to resolve the advertised URL."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The registry that a setting describes.

        Raises:
            ValueError: the URL does not fit; the text says what is expected.
        """
        if url.partition(":")[2].strip("/"):
            msg = f"{cls.scheme}: takes nothing after the colon, got {without_secrets(url)!r}"
            raise ValueError(msg)
        return cls()

    async def __aenter__(self) -> Self:
        """Start what watching and announcing need."""
        return self

    async def __aexit__(  # noqa: B027 - not every registry has something to stop
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""

    def __repr__(self) -> str:
        """What people are told of where it is, without secrets; worth more if two of them may be taken for one."""
        return f"{type(self).__name__}()"

    @abstractmethod
    def announce(self, instance: Instance) -> AbstractAsyncContextManager[None]:
        """Announce an instance while the context lasts.

        It is visible to watchers when the context is entered, withdrawn when it is left, and gone soon after the
        process died without leaving it.

        Raises:
            CommunicationError: the registry did not take it.
        """

    def objection(self, instance: Instance) -> str:  # noqa: ARG002 - most can hold any
        """Why this instance can never be announced here, empty if it can. Asked at the start, without any I/O."""
        return ""

    @abstractmethod
    def watch(self, component: str) -> AsyncGenerator[Sighting, None]:
        """Full snapshots of a component's instances, newest wins, only when something changed.

        The first comes as soon as the registry can tell. It never ends by itself and raises nothing for what the
        outside does: that is a `Failed` sighting, after which it goes on.
        """

    @abstractmethod
    async def instances(self) -> Mapping[str, tuple[Instance, ...]]:
        """All that is announced at the moment, by component.

        Raises:
            CommunicationError: the registry cannot tell.
        """
