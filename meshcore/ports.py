"""The ports to the outside.

Registries, where instances are announced and watched; channels, which transport; and sources of values. Adapters live
in the packages `registry` and `channels`, or in any installed package that names them in the entry-point groups
`meshcore.registries` and `meshcore.value_sources` (by URL scheme) and `meshcore.channels` (by channel name).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import msgspec

from meshcore.balance import (
    FirstURLSelector,
    LeastLoadedURLSelector,
    PolicyURLSelector,
    RoundRobinURLSelector,
    URLSelector,
)
from meshcore.masking import without_secrets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from meshcore.call import Call
    from meshcore.instances import Endpoint, Failed, Instance, Sighting
    from meshcore.interface import ComponentDescription


class ComponentRegistry(ABC):
    """Where instances are announced and watched.

    A registry is an async context manager; the mesh enters it before its first use and leaves it last. A registry
    object that several meshes share counts its users.
    """

    scheme: ClassVar[str] = ""
    """The scheme of the setting `MESHCORE_REGISTRY` that selects this registry."""

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


View: TypeAlias = Mapping[str, object]
"""All values of a source by dotted key, each text, or bytes that are none."""


class ValueSource(ABC):
    """Where values live that operators change while processes run.

    One object may be watched several times.
    """

    scheme: ClassVar[str] = ""
    """The scheme of the setting `MESHCORE_VALUE_SOURCE` that selects this source."""

    @classmethod
    @abstractmethod
    def from_url(cls, url: str) -> Self:
        """The source that a setting describes.

        Raises:
            ValueError: the URL does not fit; the text says what is expected.
        """

    @abstractmethod
    def watch(self) -> AsyncGenerator[View | Failed, None]:
        """Full views of all values, newest wins, only when something changed.

        The first comes as soon as the source can tell. It never ends by itself and raises nothing for what the outside
        does: that is `Failed`, after which it goes on. What a source has lost, rather than been told to delete, stays
        in its views.
        """


class ChannelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel is told of the mesh's settings.

    Attributes:
        max_body: bytes of the largest answer that is read.
        max_depth: levels of the deepest answer that is decoded.
        zone: where this process runs, empty if nobody says.
        slow_start: seconds in which the share of a new instance grows to its full size.
    """

    max_body: int = 4 * 1024 * 1024
    max_depth: int = 128
    zone: str = ""
    slow_start: float = 10.0


class Channel(ABC):
    """A transport, seen from the client: sends calls of one component to the endpoint that was chosen for each.

    The injector makes one per component, so its constructor may ask for whatever is injectable, and advice applies
    to its methods. Decorate subclasses with `@channel("name")`.
    """

    selector: URLSelector
    component: ComponentDescription
    options: ChannelOptions

    def bind(self, component: ComponentDescription, options: ChannelOptions) -> None:
        """Tell the channel whom it will call; prepare what can be prepared, without any I/O."""
        self.component = component
        self.options = options
        self.selector = PolicyURLSelector(zone=options.zone, slow_start=options.slow_start)

    def customize(self) -> None:  # noqa: B027 - a hook
        """Called once after `bind`; the place for an around advice that chooses a URL selector."""

    def select_first_url(self) -> None:
        """Ask the first instance as long as it is there, whatever the policies of calls say."""
        self.selector = FirstURLSelector()

    def select_round_robin(self) -> None:
        """Ask the instances in turn, whatever the policies of calls say."""
        self.selector = RoundRobinURLSelector()

    def select_least_loaded(self) -> None:
        """Ask the less loaded of two random instances."""
        self.selector = LeastLoadedURLSelector(zone=self.options.zone, slow_start=self.options.slow_start)

    def select(self, selector: URLSelector) -> None:
        """Use any selector."""
        self.selector = selector

    @abstractmethod
    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        """Send one call to one endpoint and return its decoded result. Called concurrently.

        The caller bounds the time by cancelling. An implementation maps the errors of its transport.

        Raises:
            CommunicationError: with `processed=False` if the call certainly did not reach an implementation.
            RemoteError: the server answered with an error.
            Exception: one of the method's declared exceptions.
        """

    async def aclose(self) -> None:  # noqa: B027 - not every channel has something to free
        """Free connections. Called once, when the mesh stops."""
