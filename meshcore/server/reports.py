"""What a caller is told of an error, and what the log is."""

from __future__ import annotations

import logging
import secrets
import traceback
from typing import Any

from meshcore.codec.errors import EncodeError, encodable
from meshcore.core.description import Method
from meshcore.core.errors import Code, ImplementationError, MeshError
from meshcore.server.request import ServedRequest
from meshcore.telemetry.logs.call_fields import request_fields
from meshcore.wire.errors import ErrorBody, ErrorCodec, mesh_error_body

log = logging.getLogger(__name__)


def report(
    error: Exception,
    method: Method | None,
    errors: ErrorCodec | None,
    request: ServedRequest | None,
    component: str,
    *,
    debug: bool,
) -> ErrorBody:
    """The body of the response for an error. Undeclared errors are logged, and the caller gets only the call's id.

    If a call that the implementation made has failed and a retry may succeed, the caller gets its code, too.
    """
    body: ErrorBody | None = None
    if errors is not None:
        try:
            body = errors.body_of(error)
        except Exception:  # a declared exception that does not keep its fields as attributes
            log.exception("%s declares %s, but it cannot be sent", method, type(error).__name__)
    elif isinstance(error, MeshError):
        body = mesh_error_body(error)
    if body is not None:
        return body
    extra = {"call": secrets.token_hex(8)} if request is None else request_fields(request)
    id_ = extra["call"]
    if request is not None:
        extra["caller"] = request.caller_name or request.peer.host
    if method is not None:
        extra.update(method=str(method), component=component)
    if isinstance(error, EncodeError):  # without a traceback, which would show only the codec
        text = "call %s of %s failed: what it returned does not fit its type: %s"
        log.error(text, id_, method, error, extra=extra)
    else:
        log.error("call %s of %s failed", id_, method or "an unknown method", exc_info=error, extra=extra)
    details: dict[str, Any] = {"call": id_}
    if debug:
        details["traceback"] = encodable("".join(traceback.format_exception(error)))
    code, what, retryable = Code.INTERNAL, "internal error", False
    if isinstance(error, ImplementationError) and error.code is not Code.INTERNAL and method is not None:
        code, what = error.code, f"a call that {method} makes itself failed"
        # A call with an idempotency key is not executed again, so a retry would get the same error.
        retryable = code.retryable and method.idempotency_key is None
    return ErrorBody(code.value, f"{what}; the server's log has it as call {id_}", details=details, retryable=retryable)
