"""The port of channels, which transport calls.

The adapters that come with meshcore are in `meshcore.channels`. Any installed package can add adapters in the
entry-point group `meshcore.channels`, by the name of the channel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from meshcore.core.description import Method, Shape
from meshcore.core.errors import Code, LocalError
from meshcore.traffic.least_loaded import LeastLoadedURLSelector
from meshcore.traffic.selectors import FirstURLSelector, PolicyURLSelector, RoundRobinURLSelector
from meshcore.traffic.url_selector import URLSelector

if TYPE_CHECKING:
    from meshcore.core.call import Call, SendItem
    from meshcore.core.description import ComponentDescription
    from meshcore.core.instances import Endpoint


LOCAL = "local"
"""The name that stands for no transport: the implementation in this process."""


class ChannelTLS(Protocol):
    """The TLS of the connections to instances, if this process has an identity.

    Attributes:
        changed: called when new connections use other certificates than before.
    """

    changed: set[Callable[[], None]]

    def connector(self, **options: Any) -> Any:
        """Make the connector of an aiohttp session. `options` are those of `aiohttp.TCPConnector`."""
        ...


class ChannelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the mesh that a channel needs.

    Attributes:
        max_body: the largest answer that is read, in bytes.
        max_depth: the deepest answer that is decoded, in levels.
        max_items: items in the lists and objects of the largest answer that is decoded, where its type does not bound
            their number.
        zone: the zone of this process; empty if it is not set.
        connections: connections to each instance, where one carries many calls.
        slow_start: seconds in which a new instance gets its full share of the calls.
        caller: how this process calls itself, for what servers count of their callers.
        tls: of the connections, None for that of aiohttp.
    """

    max_body: int = 4 * 1024 * 1024
    max_depth: int = 128
    max_items: int = 2**19
    zone: str = ""
    slow_start: float = 10.0
    connections: int = 1
    caller: str = ""
    tls: ChannelTLS | None = None


class Channel(ABC):
    """A transport, on the client's side. It sends each call of one component to the endpoint that was chosen for it.

    The injector makes one channel per component. So its constructor may have injectable parameters, and advice applies
    to its methods. Decorate subclasses with `@channel("name")`.
    """

    streams: ClassVar[frozenset[Shape]] = frozenset()
    """The kinds of streaming calls that it carries. `invoke` is for those that do not stream."""

    selector: URLSelector
    component: ComponentDescription
    options: ChannelOptions

    @classmethod
    def why_not(cls, method: Method) -> str:
        """Why the channel cannot carry the calls of a method, empty if it can. It says so before anything is called."""
        carried = method.shape is Shape.UNARY or method.shape in cls.streams
        return "" if carried else f"is a {method.shape.value}"

    def bind(self, component: ComponentDescription, options: ChannelOptions) -> None:
        """Set the component to call, and prepare its calls. Without I/O."""
        self.component = component
        self.options = options
        self.selector = PolicyURLSelector(zone=options.zone, slow_start=options.slow_start)

    def customize(self) -> None:  # noqa: B027 - a hook
        """Do nothing. Called once after `bind`, so that around advice on it can choose a URL selector."""

    def select_first_url(self) -> None:
        """Send all calls to the first instance, whatever their policies say."""
        self.selector = FirstURLSelector()

    def select_round_robin(self) -> None:
        """Send calls to the instances in turn, by weight, whatever their policies say."""
        self.selector = RoundRobinURLSelector()

    def select_least_loaded(self) -> None:
        """Send each instance its share of the calls, bent by load, whatever the policies of calls say."""
        self.selector = LeastLoadedURLSelector(zone=self.options.zone, slow_start=self.options.slow_start)

    def select(self, selector: URLSelector) -> None:
        """Use a selector, whatever the policies of calls say."""
        self.selector = selector

    @abstractmethod
    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        """Send one call to one endpoint and return its decoded result. Called concurrently.

        The caller cancels it at the deadline. An implementation turns the errors of its transport into these.

        Raises:
            CommunicationError: no answer came. `processed` is False only if no implementation can have run the call.
            RemoteError: the server answered with an error.
            Exception: a declared exception of the method.
        """

    async def invoke_stream(self, call: Call, endpoint: Endpoint, send: SendItem) -> Any:
        """Send one streaming call to one endpoint, of a kind that `streams` names. Called concurrently.

        Args:
            call: a parameter that is a stream is an `AsyncIterator` among its arguments, to be read as fast as the
                server takes the items.
            endpoint: of the server.
            send: gets each item of the result, decoded. It waits while the caller is slow.

        Returns:
            The result when the stream has ended, None if the method streams it.

        Raises:
            MeshError: as `invoke`, also in mid-stream.
        """
        del endpoint, send
        text = f"{call.method} is a {call.method.shape.value}, which {type(self).__name__} does not carry"
        raise LocalError(Code.UNIMPLEMENTED, text)

    async def is_alive(self, endpoint: Endpoint) -> bool | None:  # noqa: ARG002
        """Ask the server of an endpoint, without a call, whether it answers at all. It raises nothing, and is quick.

        Returns:
            None if the channel cannot tell. Then a call is risked to find out.
        """
        return None

    def remark(self, endpoint: Endpoint) -> str:  # noqa: ARG002
        """Say what `mesh.why` should tell of the way to an endpoint. Empty if nothing."""
        return ""

    async def aclose(self) -> None:  # noqa: B027 - not every channel has something to free
        """Close connections. Called once, when the mesh stops."""
