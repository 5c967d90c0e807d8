"""Tokens that were verified already: a bounded cache of their claims."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any


class VerifiedTokens:
    """Claims by the hash of their token, until that expires. The token itself is not kept.

    Args:
        size: tokens at most; those that were used least recently go first.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: OrderedDict[bytes, tuple[Mapping[str, Any], float]] = OrderedDict()

    def get(self, token: str, now: float) -> Mapping[str, Any] | None:
        """The claims of a token that is known and has not expired.

        Args:
            token: as it came.
            now: seconds since the epoch.
        """
        key = _hash(token)
        found = self._known.get(key)
        if found is None:
            return None
        if now >= found[1]:
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return found[0]

    def keep(self, token: str, claims: Mapping[str, Any], until: float) -> None:
        """Keep the claims of a token that was verified.

        Args:
            token: as it came.
            claims: in it.
            until: seconds since the epoch.
        """
        self._known[_hash(token)] = claims, until
        if len(self._known) > self._size:
            self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget all, since the keys are others."""
        self._known.clear()

    def __len__(self) -> int:
        return len(self._known)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
