"""The TLS connection that a request came by, and who is at its other end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any, Final

from meshcore.core.caller import ANONYMOUS, Caller, Peer

UNKNOWN_HOST: Final = "unknown"
_UNBOUND: Final = object()


class ServedConnection:
    """A connection of a server that speaks TLS, from its handshake on.

    Args:
        caller: who the client has proven to be.
        clear: whether the client speaks clear text.
        root: the root by which its certificate was verified, in DER; empty if it has none.
        ends: when its certificate expires, in seconds since the epoch; `inf` if it has none.

    Attributes:
        caller: see above.
        clear: see above.
        root: see above.
        ends: see above.
        renewed_by: when the client should use another connection at the latest, in seconds since the epoch.
        leaving: whether it should do so now: the answers say it.
        on_leave: called when `leaving` becomes true, such as by a connection that carries many calls.
        cut: closes the connection at once. None as long as no request came by it.
    """

    __slots__ = (
        "__weakref__",
        "_client",
        "_peer",
        "caller",
        "clear",
        "cut",
        "ends",
        "leaving",
        "on_leave",
        "renewed_by",
        "root",
    )

    def __init__(
        self, caller: Caller = ANONYMOUS, *, clear: bool = False, root: bytes = b"", ends: float = inf
    ) -> None:
        self.caller = caller
        self.clear = clear
        self.root = root
        self.ends = ends
        self.renewed_by = ends
        self.leaving = False
        self.on_leave: set[Callable[[], None]] = set()
        self.cut: Callable[[], None] | None = None
        self._client: Any = _UNBOUND
        self._peer = Peer(UNKNOWN_HOST, caller)

    def peer(self, client: tuple[str, int] | None) -> Peer:
        """The other end.

        Args:
            client: of the scope of the request. If that is not the client of this connection, nothing is proven: the
                request was made by code that runs for a request of this connection, such as a test client.
        """
        if client is self._client:  # hypercorn gives all requests of a connection the same tuple
            return self._peer
        if self._client is _UNBOUND:
            self._client = client
            self._peer = Peer(client[0] if client else UNKNOWN_HOST, self.caller)
        elif client != self._client:
            return Peer(client[0] if client else UNKNOWN_HOST)
        return self._peer

    def leave(self) -> None:
        """Ask the client for another connection, as soon as that costs no call."""
        if not self.leaving:
            self.leaving = True
            for told in tuple(self.on_leave):
                told()


served_connection: ContextVar[ServedConnection | None] = ContextVar("meshcore.served_connection", default=None)
"""Of the task that serves the connection, and of all tasks that it starts.

It is set in the handshake, each time before the event loop makes the task. So no connection sees that of another one.
"""


@contextmanager
def told_to_leave(told: Callable[[], None]) -> Generator[None]:
    """Call this once the connection of the current task is to be made anew, or at once if it is."""
    connection = served_connection.get()
    if connection is None:
        yield
        return
    connection.on_leave.add(told)
    try:
        if connection.leaving:
            told()
        yield
    finally:
        connection.on_leave.discard(told)
