"""The nesting checks: exact at the boundary, in agreement with the encoders, linear in time and memory."""

import contextlib
import datetime as dt
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import ormsgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore.codec.depth import NestingError, check_json, check_msgpack

MEGABYTES = 4 << 20
# Text that looks like structure, to JSON and to msgpack.
TEXT = st.text(st.sampled_from('"\\[]{}:,a\u00e9\u0080\u00dc\U0001f600'), max_size=40) | st.text(max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.integers(0, 300).map(lambda size: "\u00df[" * size)
)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=60)
PACKABLE = st.recursive(
    SCALARS
    | st.binary(max_size=300)
    | st.sampled_from([b"\x91" * 70_000, "\u0091" * 70_000])
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.builds(msgspec.msgpack.Ext, st.integers(0, 127), st.binary(max_size=300)),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(TEXT | st.integers(-300, 300), inner, max_size=20),
    max_leaves=60,
)


def depth(value: object) -> int:
    """How many containers are open at the deepest place."""
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
        case _:
            return 0


def boundary(check: Callable[[bytes, int], None], data: bytes, exact: int) -> None:
    """A body is accepted at its depth and above, and refused one level below."""
    check(data, exact)
    check(data, exact + 1)
    if exact:
        with pytest.raises(NestingError, match=f"nested deeper than {exact - 1} levels"):
            check(data, exact - 1)


@given(TREES, st.sampled_from([None, 2]))
def test_json_depth_is_exact(value, indent):
    """Whatever the strings contain, JSON is accepted at its depth and refused at one less."""
    boundary(check_json, json.dumps(value, indent=indent, ensure_ascii=False).encode(), depth(value))
    boundary(check_json, msgspec.json.encode(value), depth(value))


@given(PACKABLE)
def test_msgpack_depth_is_exact(value):
    """Whatever the types of the items, msgpack is accepted at its depth and refused at one less."""
    boundary(check_msgpack, msgspec.msgpack.encode(value), depth(value))


@given(TREES)
def test_ormsgpack_is_measured_like_msgspec(value):
    """What ormsgpack writes is accepted at its depth and refused at one less."""
    boundary(check_msgpack, ormsgpack.packb(value), depth(value))


@pytest.mark.parametrize("limit", [0, 1, 2, 127, 128, 129, 1000])
def test_a_chain_is_accepted_up_to_the_limit(limit):
    """As many levels as the limit says pass, one more does not; also when the innermost container is empty."""
    for check, chain in (
        (check_json, lambda levels: b"[" * levels + b"]" * levels),
        (check_json, lambda levels: b'{"a":' * levels + b"1" + b"}" * levels),
        (check_msgpack, lambda levels: b"\x91" * (levels - 1) + b"\x90" if levels else b"\xc0"),
        (check_msgpack, lambda levels: b"\x81\xa1a" * levels + b"\xc0"),
        (check_msgpack, lambda levels: b"\xdc\x00\x01" * levels + b"\xc0"),
        (check_msgpack, lambda levels: b"\xdf\x00\x00\x00\x01\xa1a" * levels + b"\xc0"),
    ):
        boundary(check, chain(limit), limit)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 65_535, 65_536])
def test_broad_is_not_deep(size):
    """Many containers side by side nest two levels, however many there are."""
    for item in ([], {}):
        value = [item] * size
        boundary(check_json, msgspec.json.encode(value), depth(value))
        boundary(check_msgpack, msgspec.msgpack.encode(value), depth(value))


@given(st.binary(max_size=200) | st.text('[]{}"\\,', max_size=200).map(str.encode), st.integers(0, 5))
def test_any_bytes_are_passed_or_refused(data, limit):
    """Malformed bodies end in a verdict about nesting or in none, never in another exception."""
    for check in (check_json, check_msgpack):
        try:
            check(data, limit)
        except NestingError as error:
            assert error.max_depth == limit  # noqa: PT017


@settings(max_examples=300)
@given(st.lists(st.sampled_from([b"\x91", b"\x92", b"\x81\xc0", b"\xdc\x00\x02", b"\xc0", b"\x90", b"\xc4\x01\x91"])))
def test_a_decoder_never_goes_deeper_than_the_guard_allowed(heads):
    """Also in a truncated body, the decoder recurses no deeper than what the guard has seen."""
    data = b"".join(heads)
    deepest = next(limit for limit in range(len(heads) + 1) if passes(data, limit))
    padded = data + b"\xc0" * (2 * len(heads) + 1)  # complete it, then cut what is too much
    for end in range(len(data), len(padded) + 1):
        try:
            value = msgspec.msgpack.decode(padded[:end])
        except msgspec.DecodeError:
            continue
        assert nesting(value) <= deepest
        break


def test_nothing_after_a_malformed_head_counts():
    """The decoder stops at 0xc1, and so does the guard."""
    check_msgpack(b"\x93\xc0\xc1" + b"\x91" * 9, 1)


def passes(data: bytes, limit: int) -> bool:
    """Whether a body is accepted."""
    try:
        check_msgpack(data, limit)
    except NestingError:
        return False
    return True


def nesting(value: object) -> int:
    """As `depth`, for what `Any` decodes to: keys may be containers too."""
    match value:
        case dict():
            return 1 + max((nesting(part) for pair in value.items() for part in pair), default=0)
        case list() | tuple():
            return 1 + max(map(nesting, value), default=0)
        case _:
            return 0


@contextlib.contextmanager
def traced() -> Iterator[list[int]]:
    """The most memory that was allocated at a time, as the only item of a list, once the block is left."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
    finally:
        peak.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


HOSTILE: dict[str, tuple[Callable[[bytes, int], None], bytes]] = {
    "json: opened only": (check_json, b"[" * MEGABYTES),
    "json: pairs": (check_json, b"[]" * (MEGABYTES // 2)),
    "json: 127 deep, again and again": (check_json, (b"[" * 127 + b"]" * 127) * (MEGABYTES // 254)),
    "json: too deep at the end": (check_json, b"[" + b"[]," * (MEGABYTES // 3) + b"[" * 128),
    "json: quotes": (check_json, b"[[[" * 50 + b'"' * MEGABYTES),
    "json: backslashes": (check_json, b"[[[" * 50 + b'"' + b"\\" * MEGABYTES),
    "json: escaped quotes": (check_json, b"[]" * 100 + b'"' + b'\\"' * (MEGABYTES // 2)),
    "json: brackets in strings": (check_json, b'"[",' * (MEGABYTES // 4)),
    "msgpack: opened only": (check_msgpack, b"\x91" * MEGABYTES),
    "msgpack: nothing": (check_msgpack, b"\xdd\xff\xff\xff\xff" + b"\xc0" * (MEGABYTES // 2) + b"\x90" * 200),
    "msgpack: empty": (check_msgpack, b"\xdd\xff\xff\xff\xff" + b"\x90" * (MEGABYTES // 2)),
    "msgpack: 127 deep": (check_msgpack, b"\xdd\xff\xff\xff\xff" + (b"\x91" * 126 + b"\xc0") * (MEGABYTES // 256)),
    "msgpack: bytes like heads": (check_msgpack, b"\xc6" + MEGABYTES.to_bytes(4) + b"\xdd" * MEGABYTES),
}


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_take_linear_time(name):
    """No arrangement of 4 MiB holds the loop for longer than some hundred nanoseconds a byte."""
    check, data = HOSTILE[name]
    start = time.process_time()
    with contextlib.suppress(NestingError):
        check(data, 128)
    assert time.process_time() - start < 10  # with coverage on a busy machine; 4 MiB squared would take hours


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_take_little_memory(name):
    """The check needs a few copies of the body at most."""
    check, data = HOSTILE[name]
    data = data[: MEGABYTES // 16]
    with traced() as peak, contextlib.suppress(NestingError):
        check(data, 128)
    assert peak[0] < 5 * len(data) + 20_000


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xdc\xff\xff" * 128,
    ],
)
@pytest.mark.parametrize(
    "decode",
    [
        msgspec.msgpack.decode,
        msgspec.msgpack.Decoder(list[Any]).decode,
        msgspec.msgpack.Decoder(tuple[Any, ...]).decode,
        msgspec.msgpack.Decoder(set[int]).decode,
        msgspec.msgpack.Decoder(dict[Any, Any]).decode,
        msgspec.msgpack.Decoder(msgspec.defstruct("Empty", [])).decode,
        ormsgpack.unpackb,
    ],
)
def test_claimed_sizes_are_not_believed(decode, data):
    """A few bytes that claim billions of items allocate next to nothing: why the guard need not look at sizes."""
    with traced() as peak, pytest.raises((ValueError, msgspec.DecodeError), match=r"truncated|end of file|Expected"):
        decode(data)
    assert peak[0] < 100_000
