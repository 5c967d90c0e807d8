"""Refuses keys that would make a set or a dict slow.

Python salts the hashes of `str` and `bytes`. The hashes of numbers, UUIDs, durations, moments with an offset, and of
tuples and objects of these are known to everybody. Whoever chooses such keys can make each insertion pass all earlier
ones: 8,000 UUIDs of equal hash take 3 to 18 s, 86,000 integers of different hashes 6 s.

Two things make an insertion slow, and each has a check:

- Keys with equal hashes are compared one by one. So `MAX_EQUAL` keys may have the same hash. Integers of 64 bits cannot
  exceed that, and other keys do not unless somebody chose them for it.
- Keys with different hashes may still be led through the same slots of a table. Up to `SMALL` keys that takes less
  than 0.1 s. For more, the insertion of their hashes is timed step by step, beside that of random numbers.

For up to `SMALL` keys the checks take 0.4 us a key, else 2 us.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat, takewhile
from operator import eq
from typing import Any

from meshcore.codec.depth import LimitError

LARGE = 4096
"""Bytes. The keys that fit in a smaller body take at most a few milliseconds, whatever their hashes are."""

MAX_EQUAL = 16
"""Different keys in one container that may have the same hash."""

SMALL = 8192
"""Keys in one container whose insertion is fast enough whatever their hashes are, if no two are equal."""

STEP = 256
"""Keys that are inserted between two looks at the clock."""

_SLOWER = 24
"""How much slower than that of random numbers an insertion may be. Multiples of 2**44 are 4 times slower."""

_CALIBRATIONS = 3
"""How often random numbers are inserted; the fastest counts. One that was slow by chance would let slow keys pass."""

_LOOKS = 4
"""How often a step must be found slow. A table that grows, or an interrupt, slows it once."""


class FloodingError(LimitError):
    """The keys of a set or a dict collide."""

    def __init__(self, keys: int) -> None:
        """Say among how many keys."""
        super().__init__(f"the hashes of {keys} keys collide, so they would take too long to read")


class KeyChecker:
    """Checks the keys of all sets and dicts of one body.

    Two containers of half the size take half the time of one. So `SMALL` counts as the root of a sum of squares.
    """

    def __init__(self) -> None:
        """Start a body."""
        self._left = SMALL * SMALL

    def check(self, keys: Sequence[Any], *, in_set: bool) -> None:
        """Check the keys of one container.

        Args:
            keys: In the order of their insertion. Equal ones count once. The decoder stops at the first without a hash.
            in_set: Whether they are the items of a set. Its table differs from that of a dict.

        Raises:
            FloodingError: They collide.
        """
        if len(keys) <= MAX_EQUAL:
            return
        try:
            hashes = [*map(hash, keys)]
        except TypeError:
            hashes = [*map(hash, takewhile(_is_hashable, keys))]
        ordered = sorted(hashes)
        if any(map(eq, ordered, ordered[MAX_EQUAL:])):
            frequent = {str(a) for a, b in zip(ordered, ordered[MAX_EQUAL:], strict=False) if a == b}
            _check_equal(keys, hashes, frequent)
        self._left -= len(hashes) ** 2
        if self._left < 0 and not is_quick(hashes, in_set=in_set):
            raise FloodingError(len(keys))


def _is_hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True


def _check_equal(keys: Sequence[Any], hashes: Iterable[int], frequent: set[str]) -> None:
    """Count the different keys of the frequent hashes, which have salted hashes themselves as texts.

    Raises:
        FloodingError: There are too many.
    """
    found: dict[str, list[Any]] = {each: [] for each in frequent}
    for key, value in zip(keys, hashes, strict=False):
        same = found.get(str(value))
        if same is not None and key not in same:
            same.append(key)
            if len(same) > MAX_EQUAL:
                raise FloodingError(len(keys))


def is_quick(hashes: Sequence[int], *, in_set: bool, clock: Callable[[], float] = time.thread_time) -> bool:
    """Whether keys with these hashes are inserted about as fast as random ones.

    Args:
        hashes: The hashes, in the order of their insertion.
        in_set: Whether the keys are the items of a set.
        clock: The processor time of this thread, in seconds.
    """
    timed = TimedInsertions(in_set=in_set, clock=clock)
    return all(timed.insert(hashes[at : at + STEP]) for at in range(0, len(hashes), STEP))


class TimedInsertions:
    """Inserts hashes in place of their keys, and tells whether that is as fast as with random numbers.

    A table that grows inserts all its entries anew, without a look at the clock. So before it does, they are inserted
    step by step into a table that has the new size already, because it was filled with random numbers.

    Args:
        in_set: Whether the keys are the items of a set.
        clock: The processor time of this thread, in seconds.
    """

    def __init__(self, *, in_set: bool, clock: Callable[[], float] = time.thread_time) -> None:
        self._in_set = in_set
        self._clock = clock
        self._allowed = _SLOWER * STEP * min(self._time_of_random() for _ in range(_CALIBRATIONS)) / SMALL
        self._table = _Set() if in_set else _Dict()
        self._hashes: list[int] = []

    def _time_of_random(self) -> float:
        begun = self._clock()
        _random_table(SMALL, in_set=self._in_set)
        return self._clock() - begun

    def insert(self, hashes: Sequence[int]) -> bool:
        """Insert a step of at most `STEP` hashes. False if they take too long."""
        count = len(self._table)
        for size in _SET_GROWTHS if self._in_set else _DICT_GROWTHS:
            if count <= size < count + STEP:
                larger, earlier = _random_table(size + 1, in_set=self._in_set), self._hashes
                if not all(self._is_quick(earlier[at : at + STEP], larger) for at in range(0, len(earlier), STEP)):
                    return False
        self._hashes += hashes
        return self._is_quick(hashes, self._table)

    def _is_quick(self, hashes: Sequence[int], table: _Dict | _Set) -> bool:
        """Insert a step and time it.

        What makes an insertion slow makes a search as slow. A step that was slow by chance is quick to search.
        """
        begun = self._clock()
        table.insert(hashes)
        for _ in range(_LOOKS):
            ended = self._clock()
            if ended - begun <= self._allowed:
                return True
            begun = ended
            all(map(table.__contains__, hashes))
        return self._clock() - begun <= self._allowed


# The sizes at which tables grow, from those that matter to those that no body reaches. CPython 3.7 to 3.14 lets two
# thirds of the slots of a dict and three fifths of those of a set be taken. A dict then gets twice as many slots, a set
# four times, and above 50,000 items twice.
_DICT_GROWTHS = tuple(2**power * 2 // 3 for power in range(13, 31))
_SET_GROWTHS = tuple(2**power * 3 // 5 for power in (13, 15, *range(17, 31)))


class _Dict(dict[int, None]):
    def insert(self, hashes: Iterable[int]) -> None:
        self.update(zip(hashes, repeat(None)))


class _Set(set[int]):
    def insert(self, hashes: Iterable[int]) -> None:
        self.update(hashes)


def _random_table(size: int, *, in_set: bool) -> _Dict | _Set:
    """A table with so many entries."""
    table = _Set() if in_set else _Dict()
    table.insert(memoryview(random.randbytes(8 * size)).cast("Q"))
    return table
