"""The access log: a line for each call that is served, without its arguments."""

from __future__ import annotations

import logging
import time
from typing import Any

from meshcore.core.call import LOCAL_PEER, Call, Handler
from meshcore.core.errors import Code, MeshError

log = logging.getLogger("meshcore.access")


async def access_logged(handler: Handler, call: Call) -> Any:
    """Write a line when a call of another process has ended, or its stream has: an interceptor."""
    if call.peer == LOCAL_PEER:
        return await handler(call)
    begun = time.monotonic()
    outcome = "ok"
    try:
        return await handler(call)
    except BaseException as error:
        outcome = _outcome(error)
        raise
    finally:
        if log.isEnabledFor(logging.INFO):
            _write(call, outcome, time.monotonic() - begun)


def _outcome(error: BaseException) -> str:
    if isinstance(error, MeshError):
        return error.code.value
    return type(error).__name__ if isinstance(error, Exception) else Code.CANCELED.value


def _write(call: Call, outcome: str, seconds: float) -> None:
    fields = {
        "method": str(call.method),
        "caller": call.peer,
        "outcome": outcome,
        "seconds": round(seconds, 6),
        "attempt": call.attempt,
        "call": getattr(call.headers, "call_id", ""),
    }
    log.info("%(method)s from %(caller)s: %(outcome)s in %(seconds).4f s", fields, extra=fields)
