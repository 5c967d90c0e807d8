"""Follows what one blocking query tells of, through whatever happens to Consul."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from meshcore.core.errors import AuthorizationError, Code, MeshError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .machines.blocking_query import BlockingQuery, Query

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_PERMANENT = frozenset({Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION})
_AWAY = "away"


async def follow(
    what: str,
    requests: BlockingQuery,
    read: Callable[[Query], Awaitable[tuple[int, T]]],
    use: Callable[[T], str],
) -> None:
    """Send a blocking query again and again, until cancelled.

    Errors are logged and retried: a line for an agent that does not answer, and one for each reason that has to be
    mended.

    Args:
        what: is followed, for the log.
        requests: the state of the query.
        read: sends it. Returns the index and what was found.
        use: takes what was found. Returns why it cannot be used, empty if it was taken.
    """
    loop = asyncio.get_running_loop()
    said = ""
    while True:
        query = requests.query(loop.time())
        await asyncio.sleep(max(0.0, query.at - loop.time()))
        try:
            index, found = await read(query)
        except Exception as error:  # noqa: BLE001 - no error may end it
            text, permanent = _explained(error, what)
            requests.failed(loop.time(), permanent=permanent)
            reason = text if permanent else _AWAY
        else:
            if not requests.answered(index):
                continue
            text = reason = use(found)
        if reason != said:
            if reason:
                _logger.warning("%s: the last known stays in use: %s", what, text)
            else:
                _logger.info("%s: Consul can be read again", what)
            said = reason


def _explained(error: Exception, what: str) -> tuple[str, bool]:
    """Return the text of an error, and whether retries do not mend it. An unexpected one is a bug, and is logged."""
    if isinstance(error, MeshError):
        return error.message, isinstance(error, AuthorizationError) or error.code in _PERMANENT
    _logger.error("unexpected error in the watch of %s", what, exc_info=error)
    return repr(error), True
