"""The trace that the current code belongs to. Its headers go with every call that this code makes."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

TRACEPARENT: Final = "traceparent"
"""The trace and the span of a caller, and whether they are recorded (W3C Trace Context)."""

TRACESTATE: Final = "tracestate"
"""What vendors add to that (W3C Trace Context)."""

BAGGAGE: Final = "baggage"
"""Names and values of the application (W3C Baggage)."""

TRACE_HEADERS: Final = (TRACEPARENT, TRACESTATE, BAGGAGE)

# The headers in the form in which they are sent on, None if the current code belongs to no trace. Tasks inherit it, and
# so do threads of `core.threads`. A call whose headers have a traceparent of their own gets none of these.
ambient_trace: ContextVar[Mapping[str, str] | None] = ContextVar("ambient_trace", default=None)
