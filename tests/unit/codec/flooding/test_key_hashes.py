"""Keys that collide are refused, in a time that does not grow with their square; honest keys never are."""

import random
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from uuid import UUID

import pytest

from meshcore.codec.flooding.key_hashes import MAX_EQUAL, SMALL, FloodingError, KeyChecker, is_quick

MODULUS = 2**61 - 1  # the hash of an integer is its rest
KINDS = pytest.mark.parametrize("in_set", [False, True], ids=["dict", "set"])


def chain(power: int, links: int, followers: int) -> list[int]:
    """Numbers of different hashes that make a dict of 2**power slots slow.

    The first ones take the slots that CPython tries one after the other. Each of the others begins among them.
    """
    mask = 2**power - 1
    slots = [7]
    while len(slots) < links:
        slots.append((slots[-1] * 5 + 1) & mask)
    at = {slot: place for place, slot in enumerate(slots)}
    chance, found = random.Random(12), dict[int, None]()
    while len(found) < followers:
        number = chance.getrandbits(power + 8) | 2 ** (power + 8)
        slot, perturb = number & mask, number
        while slot in at and perturb:
            perturb >>= 5
            slot = (slot * 5 + 1 + perturb) & mask
        if at.get(slot, links) < links // 2:
            found[number] = None
    return [*slots, *found]


def as_uuid(number: int) -> UUID:
    """A key of the kind that is most usual."""
    return UUID(int=number)


def as_pair(number: int) -> tuple[str, int]:
    """A key whose hash depends on another one."""
    return "a", number


@KINDS
@pytest.mark.parametrize("kind", [int, Decimal, as_uuid, as_pair])
def test_keys_of_equal_hash_are_refused_above_a_small_number(kind: Callable[[int], object], *, in_set: bool) -> None:
    """Of whatever type they are."""
    keys = [kind(5 + MODULUS * factor) for factor in range(MAX_EQUAL + 1)]
    KeyChecker().check(keys[:-1] * 2, in_set=in_set)
    with pytest.raises(FloodingError, match="the hashes of 34 keys collide"):
        KeyChecker().check(keys * 2, in_set=in_set)


@KINDS
def test_equal_keys_count_once(*, in_set: bool) -> None:
    """They are no further keys."""
    KeyChecker().check([1, 1.0, Decimal(1), True] * 100 + [-1, -2] * 100, in_set=in_set)


@KINDS
def test_keys_after_one_without_a_hash_do_not_count(*, in_set: bool) -> None:
    """The decoder stops there."""
    colliding = [MODULUS * factor for factor in range(40)]
    KeyChecker().check([[], *colliding], in_set=in_set)
    with pytest.raises(FloodingError):
        KeyChecker().check([*colliding, []], in_set=in_set)


@KINDS
@pytest.mark.parametrize(
    "keys",
    [
        range(12_000),
        [number << 22 for number in range(12_000)],
        [number << 44 for number in range(12_000)],
        [(1_700_000_000_000 + 37 * number) << 22 for number in range(12_000)],
        [number / 1000 for number in range(12_000)],
        [random.Random(number).getrandbits(64) for number in range(12_000)],
        [3] * 12_000,
    ],
    ids=["dense", "multiples", "large multiples", "moments", "fractions", "random", "equal"],
)
def test_honest_keys_are_accepted(keys: Sequence[object], *, in_set: bool) -> None:
    """Also where many of them take more than one step."""
    KeyChecker().check(keys, in_set=in_set)


def test_keys_of_different_hashes_that_share_their_slots_are_refused() -> None:
    """Each of the last ones passes thousands of the first ones."""
    keys = chain(14, 9000, 1500)
    assert len(set(keys)) == len(keys) > SMALL
    assert not is_quick(keys, in_set=False)
    with pytest.raises(FloodingError):
        KeyChecker().check(keys, in_set=False)


@pytest.mark.long
def test_keys_that_are_slow_only_when_the_dict_has_grown_are_refused() -> None:
    """The table of these takes 10,922 entries, and then gets twice as many slots, for which they were made."""
    keys = [*chain(15, 9000, 1900), *range(10**9, 10**9 + 100)]
    assert not is_quick(keys, in_set=False)


def test_many_small_dicts_of_slow_keys_are_refused_together() -> None:
    """One of them alone is fast enough."""
    keys, checker = chain(13, 4000, 1000), KeyChecker()
    checker.check(keys, in_set=False)
    checker.check(keys, in_set=False)
    with pytest.raises(FloodingError):
        checker.check(keys, in_set=False)


def test_a_calibration_that_was_slow_by_chance_lets_no_slow_keys_pass() -> None:
    """The first time that random numbers are inserted takes a second, by the clock; the fastest counts."""
    calls = 0

    def clock() -> float:
        nonlocal calls
        calls += 1
        return time.thread_time() + (calls > 1)  # between the first two looks

    assert not is_quick(chain(13, 4000, 1000), in_set=False, clock=clock)
