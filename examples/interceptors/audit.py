"""An audit log: who called what, from where, how it ended and how long it took."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from meshcore import Call, Handler, MeshError

from .tokens import USER

log = logging.getLogger("audit")


class AuditLog:
    """For servers and clients alike: writes one line per call. Arguments and results stay out of it.

    On a server it stands inside of whatever checks who asks: outside, the user would be whoever the client claims.

    Args:
        logger: where lines go. Each record has `method`, `peer`, `user`, `outcome`, `seconds` and `attempts` as fields.
        clock: monotonic seconds.
    """

    def __init__(self, logger: logging.Logger = log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = logger
        self._clock = clock

    async def __call__(self, handler: Handler, call: Call) -> object:
        """Run the call and note what came of it."""
        begun = self._clock()
        outcome = "ok"
        try:
            return await handler(call)
        except asyncio.CancelledError:
            outcome = "canceled"
            raise
        except MeshError as error:
            outcome = error.code.value
            raise
        except Exception as error:  # one that the interface declares, or a mistake
            outcome = type(error).__name__
            raise
        finally:
            self._write(call, outcome, self._clock() - begun)

    def _write(self, call: Call, outcome: str, seconds: float) -> None:
        fields = {
            "method": str(call.method),
            "peer": call.peer,  # on a client "local": the call was made here
            "user": call.caller.claims.get("sub") or call.headers.get(USER, "-"),
            "outcome": outcome,
            "seconds": seconds,
            "attempts": max(len(call.trail), call.attempt),  # a client knows all of them, a server which one this is
        }
        text = "%(method)s from %(peer)s by %(user)s: %(outcome)s in %(seconds).3f s, attempts %(attempts)d"
        self._log.info(text, fields, extra=fields)
