"""Whether what a folder shows is believed: a folder that was removed, or made anew, does not show who lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ..snapshot import Snapshot

FolderId: TypeAlias = tuple[int, int]
"""The device and the inode number of a folder."""

GRACE = 1.0
"""Seconds after a folder was made anew. Until then, processes that live put their files back."""

_REMOVED: FolderId = (-1, -1)


class Continuity:
    """Remembers which folder was read last, and the instances in it. Not thread-safe."""

    def __init__(self) -> None:
        self._folder: FolderId | None = None
        self._known: frozenset[str] = frozenset()
        self._remade: FolderId | None = None
        self._since = 0.0

    def removed(self) -> bool:
        """Note that there is no folder. Returns whether there was one before; else nobody has announced yet."""
        if self._folder is None:
            return False
        self._folder, self._remade = _REMOVED, None
        return True

    def doubt(self, folder: FolderId, found: Snapshot, now: float) -> str:
        """Return why the content of a folder is not believed yet. Empty if it is.

        Args:
            folder: the folder.
            found: what it contains.
            now: the time.
        """
        present = frozenset(instance.id for instances in found.values() for instance in instances)
        if folder != self._folder and self._folder is not None:
            if folder != self._remade:
                self._remade, self._since = folder, now
            missing = len(self._known - present)
            if missing and now < self._since + GRACE:
                return f"it was removed and made anew, and {missing} known instances are not announced there yet"
        self._folder, self._known = folder, present
        return ""
