"""Tokens that were verified already: a bounded cache of their claims."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

_LARGEST: Final = 2**24
"""Characters of all tokens together whose claims are kept. Decoded, claims take four to five bytes for each."""


class VerifiedTokens:
    """Claims by the hash of their token, until that expires. The token itself is not kept.

    Args:
        size: tokens at most; those that were used least recently go first.
        largest: characters that they may have together.
    """

    def __init__(self, size: int, largest: int = _LARGEST) -> None:
        self._size = size
        self._largest = largest
        self._characters = 0
        self._known: OrderedDict[bytes, tuple[Mapping[str, Any], float, int]] = OrderedDict()

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
            self._forget(key)
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
        key = _hash(token)
        self._forget(key)
        self._known[key] = claims, until, len(token)
        self._characters += len(token)
        while self._known and (len(self._known) > self._size or self._characters > self._largest):
            self._forget(next(iter(self._known)))

    def clear(self) -> None:
        """Forget all, since the keys are others."""
        self._known.clear()
        self._characters = 0

    def _forget(self, key: bytes) -> None:
        found = self._known.pop(key, None)
        if found is not None:
            self._characters -= found[2]

    def __len__(self) -> int:
        return len(self._known)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
