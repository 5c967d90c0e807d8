"""The ports to the outside.

Registries, where instances are announced and watched; channels, which transport; and sources of values. Adapters live
in the packages `registry` and `channels`, or in any installed package that names them in the entry-point groups
`meshcore.registries` and `meshcore.value_sources` (by URL scheme) and `meshcore.channels` (by channel name).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import msgspec

from meshcore.traffic.selectors import (
    FirstURLSelector,
    LeastLoadedURLSelector,
    PolicyURLSelector,
    RoundRobinURLSelector,
    URLSelector,
)

if TYPE_CHECKING:
    from meshcore.core.call import Call
    from meshcore.core.description import ComponentDescription
    from meshcore.core.instances import Endpoint


LOCAL = "local"
"""The name that stands for no transport: the implementation in this process."""


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
