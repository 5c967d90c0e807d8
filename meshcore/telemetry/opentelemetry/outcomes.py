"""What a span says of the end of its call."""

from __future__ import annotations

import time

from opentelemetry.trace import Span, Status, StatusCode

from meshcore.core.call import Call
from meshcore.core.errors import Code, ImplementationError, MeshError
from meshcore.telemetry.conventions import ERROR_TYPE, OK, SERVER_FAULTS, STATUS_CODE


def end_well(span: Span) -> None:
    """Say that the call succeeded."""
    span.set_attribute(STATUS_CODE, OK)


def end_badly(span: Span, error: BaseException, call: Call, *, served: bool) -> None:
    """Say how the call failed.

    Args:
        span: of the call.
        error: that it ended with.
        call: the call.
        served: whether it is served here. Then an error that the interface does not declare is recorded with its
            traceback, as it is in the log: callers are not told of it.
    """
    code, kind = _code_of(error, call, served=served)
    span.set_attribute(STATUS_CODE, code)
    span.set_attribute(ERROR_TYPE, kind)
    if code == Code.CANCELED.value:  # the caller needs no answer any more, such as one that leaves a stream
        return
    if served and code not in SERVER_FAULTS:
        return
    if served and not isinstance(error, MeshError) and isinstance(error, Exception):
        span.record_exception(error)
    # A text that was not written for callers may contain anything.
    span.set_status(Status(StatusCode.ERROR, error.message if isinstance(error, MeshError) else kind))


def _code_of(error: BaseException, call: Call, *, served: bool) -> tuple[str, str]:
    """The code and the type of an error."""
    if isinstance(error, MeshError):
        return error.code.value, error.code.value
    if not isinstance(error, Exception):  # cancelled, mostly
        late = time.monotonic() >= call.deadline
        code = Code.DEADLINE_EXCEEDED.value if late else Code.CANCELED.value
        return code, code
    if isinstance(error, call.method.raises):
        declared = getattr(error, "code", None)
        known = declared if isinstance(declared, Code) else Code.FAILED_PRECONDITION
        return known.value, type(error).__qualname__
    if isinstance(error, ImplementationError):
        return error.code.value, error.code.value
    return (Code.INTERNAL if served else Code.UNKNOWN).value, type(error).__qualname__
