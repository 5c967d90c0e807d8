"""Puts certificates and roots together that are read one by one. Does no I/O.

Roots count at once: one that Consul drops must not be trusted any longer. A certificate counts as soon as one of the
roots has issued it. Until then the one before it stays: of a new certificate and its new root, either may come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LeafT = TypeVar("LeafT")
RootsT = TypeVar("RootsT")


class Chosen(msgspec.Struct, Generic[LeafT, RootsT], frozen=True):
    """What is used.

    Attributes:
        leaves: a certificate of each name, in the order of the names.
        roots: those that are trusted.
        distrusted: the names whose certificate none of the roots has issued.
    """

    leaves: tuple[LeafT, ...]
    roots: RootsT
    distrusted: tuple[str, ...] = ()


class CertificateSet(Generic[LeafT, RootsT]):
    """The newest certificate of each name, and the newest roots.

    Args:
        names: which certificates there have to be.
        issued: whether one of the roots has issued a certificate.
    """

    def __init__(self, names: Sequence[str], issued: Callable[[LeafT, RootsT], bool]) -> None:
        self._names = tuple(names)
        self._issued = issued
        self._read: dict[str, LeafT] = {}
        self._used: dict[str, LeafT] = {}
        self._roots: RootsT | None = None
        self._chosen: Chosen[LeafT, RootsT] | None = None

    def read_leaf(self, name: str, leaf: LeafT) -> None:
        """Report a certificate that was read."""
        self._read[name] = leaf

    def read_roots(self, roots: RootsT) -> None:
        """Report the roots that were read."""
        self._roots = roots

    def news(self) -> Chosen[LeafT, RootsT] | None:
        """Return what to use from now on. None: nothing has changed, or something was not read yet."""
        roots = self._roots
        if roots is None or len(self._read) < len(self._names):
            return None
        distrusted: list[str] = []
        for name in self._names:
            leaf = self._read[name]
            if self._issued(leaf, roots):
                self._used[name] = leaf
            elif not self._issued(self._used.setdefault(name, leaf), roots):
                distrusted.append(name)
        chosen = Chosen(tuple(self._used[name] for name in self._names), roots, tuple(distrusted))
        if chosen == self._chosen:
            return None
        self._chosen = chosen
        return chosen
