"""What the current code serves: `current_call`, with headers, deadline and caller, and the trace that it belongs to."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any, Final, Protocol

import msgspec

from meshcore.core.call import Call, ambient_deadline
from meshcore.core.caller import ANONYMOUS, Caller
from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError

TRACEPARENT: Final = "traceparent"
"""The trace and the span of a caller, and whether they are recorded (W3C Trace Context)."""

TRACESTATE: Final = "tracestate"
"""What vendors add to that (W3C Trace Context)."""

BAGGAGE: Final = "baggage"
"""Names and values of the application (W3C Baggage)."""

TRACE_HEADERS: Final = (TRACEPARENT, TRACESTATE, BAGGAGE)

# The headers in the form in which they are sent on, None if the current code belongs to no trace. Tasks inherit it, and
# so do threads of `core.context.threads`. A call whose headers have a traceparent of their own gets none of these.
ambient_trace: ContextVar[Mapping[str, str] | None] = ContextVar("ambient_trace", default=None)


class CurrentCall(msgspec.Struct, frozen=True):
    """The call that an implementation serves, without its arguments.

    Attributes:
        method: the method that was called.
        headers: the headers of the call, as the server's interceptors left them; the names are lower case. The client
            chooses them, so trust only what an interceptor has checked.
        deadline: the time on `time.monotonic()` at which the caller stops waiting. Infinite if there is no deadline,
            and in work that is `detached`.
        attempt: the number of the caller's attempt, 1 for the first.
        peer: the address of the client's host, without a port; "local" for a call of this process, "unknown" if the
            ASGI server does not say. Behind a reverse proxy it is the proxy's address, unless the server corrects that.
        component: the name of the component that offers the service, empty if several components of this process do.
        caller: who calls. Its identity stands there only if it was proven, by the certificate of its connection.
    """

    method: Method
    headers: Mapping[str, str]
    deadline: float
    attempt: int
    peer: str
    component: str
    caller: Caller = ANONYMOUS

    @property
    def claims(self) -> Mapping[str, Any]:
        """The claims of the token that came with the call; empty if there is none, or if nothing verifies tokens."""
        return self.caller.claims

    def __repr__(self) -> str:
        """Without values of headers, which may be secrets."""
        return f"CurrentCall({self.method}, headers={sorted(self.headers)}, attempt={self.attempt}, peer={self.peer!r})"


# The call and the name of its component, set around each implementation. `CurrentCall` is built only on demand: setting
# and resetting the variable costs 0.2 to 0.3 us already, about half of what a local call takes.
ambient_call: ContextVar[tuple[Call, str] | None] = ContextVar("ambient_call", default=None)


class Request(Protocol):
    """A call of another process, as logs tell of it.

    Attributes:
        trace: the headers of the trace that began, or goes on, with a span of this process; None for the caller's.
    """

    trace: Mapping[str, str] | None

    @property
    def call_id(self) -> str:
        """Its id in this process."""
        ...

    @property
    def caller_name(self) -> str:
        """How the client is called: by what it has proven, else as it calls itself; empty if it does not say."""
        ...

    @property
    def trace_ids(self) -> tuple[str, str]:
        """The ids of its trace and span, both empty if it belongs to none."""
        ...

    @property
    def arrived(self) -> float:
        """When it was admitted, on `time.monotonic()`."""
        ...


# The request that the current code serves. Calls within the process that are made for it belong to it, too; to set it
# for each of these would make them a tenth slower.
ambient_request: ContextVar[Request | None] = ContextVar("ambient_request", default=None)


def current_call() -> CurrentCall:
    """The call that the current code serves. It works in threads and tasks that the implementation started, too.

    Raises:
        LocalError: FAILED_PRECONDITION, the current code serves no call.
    """
    found = ambient_call.get()
    if found is None:
        text = "current_call() was called outside of a call: it works only in an implementation and in what that calls"
        raise LocalError(Code.FAILED_PRECONDITION, text)
    call, component = found
    # A local call may have no deadline of its own. It then has that of the call which it is made for.
    deadline = min(call.deadline, ambient_deadline.get())
    return CurrentCall(call.method, call.headers, deadline, call.attempt, call.peer, component, call.caller)


@contextmanager
def unbounded() -> Generator[None]:
    """Within the context, the current call has no deadline and no arguments; its headers and peer stay known."""
    found = ambient_call.get()
    if found is not None:
        call, component = found
        found = Call(call.method, headers=call.headers, deadline=inf, peer=call.peer, caller=call.caller), component
    token = ambient_call.set(found)
    try:
        yield
    finally:
        ambient_call.reset(token)
