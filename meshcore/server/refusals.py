"""What ends a call before its implementation begins, though the call itself has begun."""

from __future__ import annotations

import asyncio

from meshcore.core.errors import Code, MeshError


class NotBegunError(MeshError):
    """RESOURCE_EXHAUSTED, not processed: the call may be sent to another instance."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(Code.RESOURCE_EXHAUSTED, message, processed=False, retry_after=retry_after)


class CancelledBeforeItBegan(asyncio.CancelledError):
    """A cancellation of a call that has waited for its turn."""
