"""Keeps hypercorn from changing a connection to cleartext HTTP/2 when a request asks for it (`Upgrade: h2c`).

A proxy in front that passes such a request on would pass everything that follows on, too, without looking at it. A
server may ignore the wish (RFC 9110, 7.8), and RFC 9113 has abolished it. hypercorn has no option for that.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

log = logging.getLogger(__name__)

_PRIOR_KNOWLEDGE = b"PRI"


def ignore_upgrades() -> None:
    """Answer such requests like others, in this process. Clients that begin with HTTP/2 are served as before."""
    module = sys.modules.get("hypercorn.protocol.h11")
    if module is None:  # another server
        return
    protocol: Any = getattr(module, "H11Protocol", None)
    check: Callable[[Any, Any], Awaitable[None]] | None = getattr(protocol, "_check_protocol", None)
    if check is None:
        log.warning("this release of hypercorn is not known: it may accept `Upgrade: h2c`, see the guide on deployment")
    elif not hasattr(check, "meshcore"):

        async def without_upgrade(self: Any, request: Any) -> None:
            if request.method == _PRIOR_KNOWLEDGE:
                await check(self, request)

        without_upgrade.meshcore = True  # type: ignore[attr-defined]
        protocol._check_protocol = without_upgrade  # noqa: SLF001 - see above
