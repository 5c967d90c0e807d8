"""Adds the call that is served to the lines of the log that are written meanwhile: `CallFields`, a filter."""

from __future__ import annotations

import logging
import sys
from typing import Final

from meshcore.core.call import LOCAL_PEER
from meshcore.core.context.current_call import Request, ambient_call, ambient_request, ambient_trace
from meshcore.telemetry.trace_context import ids_of

CALL_FIELDS: Final = ("call", "method", "component", "caller", "trace_id", "span_id")


class CallFields(logging.Filter):
    """Gives records the attributes `call`, `method`, `component`, `caller`, `trace_id` and `span_id`.

    Add it to a handler: `handler.addFilter(CallFields())`. It works in threads and tasks that an implementation
    started, too. What a record says itself stays. Arguments, results and headers are never among them.

    `call` is an id of the call in this process, and that which a caller is told of an internal error. A call within
    the process has that of the served call that it is made for. `caller` is the component that the client has proven to
    be, else how it calls itself by the header `mesh-caller`, which proves nothing, else the address of its host. Trace
    and span are those of OpenTelemetry if it has some, else those of the headers.

    Args:
        missing: what the attributes are outside of a call, for formats that need them: "-". None: not set at all.
    """

    def __init__(self, missing: str | None = None) -> None:
        super().__init__()
        self._missing = missing

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes. All records pass."""
        given = vars(record)
        for name, value in {**_call(), **_trace()}.items():
            given.setdefault(name, value)
        if self._missing is not None:
            for name in CALL_FIELDS:
                given.setdefault(name, self._missing)
        return True


def request_fields(request: Request) -> dict[str, str]:
    """The id and the trace of a call, for lines that are written when it has ended and is not the current one."""
    trace_id, span_id = request.trace_ids
    fields = {"call": request.call_id}
    return {**fields, "trace_id": trace_id, "span_id": span_id} if trace_id else fields


def _call() -> dict[str, str]:
    found = ambient_call.get()
    if found is None:
        return {}
    call, component = found
    request = ambient_request.get()
    fields = {"method": str(call.method), "component": component, "caller": call.peer}
    if request is not None:
        fields["call"] = request.call_id
        if request.caller_name and call.peer != LOCAL_PEER:
            fields["caller"] = request.caller_name
    return fields


def _trace() -> dict[str, str]:
    trace_id, span_id = ids_of(ambient_trace.get())
    # Not imported here: it is asked only where something else uses it.
    opentelemetry = sys.modules.get("opentelemetry.trace")
    if opentelemetry is not None and hasattr(opentelemetry, "get_current_span"):
        found = opentelemetry.get_current_span().get_span_context()
        if found.is_valid:
            trace_id, span_id = f"{found.trace_id:032x}", f"{found.span_id:016x}"
    return {"trace_id": trace_id, "span_id": span_id} if trace_id else {}
