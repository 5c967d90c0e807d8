"""A key that comes twice is found, however it is written, and nothing else is."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.codec import JSON, MSGPACK, Codec, DecodeError
from meshcore.keys import RepeatedKeyError, check_json_keys, check_msgpack_keys


class Pairs(NamedTuple):
    """An object as it is written."""

    pairs: list[tuple[str, Any]]


KEYS = st.sampled_from(["a", "b", "é", "", "x y", '"', "\\", "a" * 50])
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0.5, 1e300, "{", '"a":1', ""])
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(KEYS, inner), max_size=5).map(Pairs),
    max_leaves=30,
)


def repeated(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Where a key comes twice, and which."""
    if isinstance(node, Pairs):
        keys = [key for key, _ in node.pairs]
        yield from ((path, key) for at, key in enumerate(keys) if key in keys[:at])
        for key, inner in node.pairs:
            yield from repeated(inner, f"{path}.{key}" if key.isidentifier() and len(key) < 50 else f"{path}[...]")
    elif isinstance(node, list):
        for at, inner in enumerate(node):
            yield from repeated(inner, f"{path}[{at}]")


def as_json(node: Any, draw: st.DrawFn) -> str:
    """With a space or none, and characters as they are or escaped."""
    space = draw(st.sampled_from(["", "", "", " ", "\n\t"]))
    if isinstance(node, Pairs):
        inner = ",".join(f"{text(key, draw)}{space}:{as_json(value, draw)}" for key, value in node.pairs)
        return f"{{{space}{inner}{space}}}"
    if isinstance(node, list):
        return f"[{space}{','.join(as_json(each, draw) for each in node)}]"
    return text(node, draw) if isinstance(node, str) else json.dumps(node)


def text(value: str, draw: st.DrawFn) -> str:
    """A text as JSON."""
    if draw(st.booleans()):
        return '"' + "".join(f"\\u{ord(each):04x}" for each in value) + '"'
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


def as_msgpack(node: Any, draw: st.DrawFn) -> bytes:
    """With sizes as short as possible, or longer."""
    size = draw(st.sampled_from([0, 0, 2, 4]))
    if isinstance(node, Pairs):
        head = {0: bytes([0x80 + len(node.pairs)]), 2: b"\xde", 4: b"\xdf"}[size]
        head += len(node.pairs).to_bytes(size) if size else b""
        return head + b"".join(as_msgpack(key, draw) + as_msgpack(value, draw) for key, value in node.pairs)
    if isinstance(node, list):
        head = {0: bytes([0x90 + len(node)]), 2: b"\xdc", 4: b"\xdd"}[size]
        return head + (len(node).to_bytes(size) if size else b"") + b"".join(as_msgpack(each, draw) for each in node)
    if isinstance(node, str) and size:
        data = node.encode()
        return (b"\xda" if size == 2 else b"\xdb") + len(data).to_bytes(size) + data
    return msgspec.msgpack.encode(node)


def holds(check: Any, data: bytes, tree: Any) -> None:
    """The check finds one of those that there are, or nothing."""
    there = list(repeated(tree))
    if not there:
        check(data)
        return
    with pytest.raises(RepeatedKeyError) as found:
        check(data)
    assert (found.value.path, found.value.reason) in [(path, f"key {key!r} comes twice") for path, key in there]


@given(TREES, st.data())
def test_json(tree, data):
    """Whatever the spaces and escapes."""
    written = as_json(tree, data.draw).encode()
    msgspec.json.decode(written)
    holds(check_json_keys, written, tree)


@given(TREES, st.data())
def test_msgpack(tree, data):
    """Whatever the length of the sizes."""
    written = as_msgpack(tree, data.draw)
    msgspec.msgpack.decode(written)
    holds(check_msgpack_keys, written, tree)


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (b"\x07", b"\xcd\x00\x07", "key 7 comes twice"),
        (b"\xc4\x01k", b"\xc5\x00\x01k", "key b'k' comes twice"),
        (b"\xc0", b"\xc0", "key None comes twice"),
        (b"\xca\x3f\x80\x00\x00", b"\xcb\x3f\xf0" + b"\x00" * 6, "key 1.0 comes twice"),
        (b"\x91\x01", b"\x91\x01", "key [1] comes twice"),
        (b"\x81\x01\x02", b"\x81\x01\x02", "key {1: 2} comes twice"),
        (b"\x01", b"\xcb\x3f\xf0" + b"\x00" * 6, None),
        (b"\xa1k", b"\xc4\x01k", None),
        (b"\xd7\x01" + b"\x00" * 8, b"\xd7\x02" + b"\x00" * 8, None),
    ],
)
def test_keys_that_are_no_text(one, other, reason):
    """Equal are those of one kind with one value, not those that Python calls equal."""
    body = b"\x82" + one + b"\x01" + other + b"\x01"
    if reason is None:
        check_msgpack_keys(body)
        return
    with pytest.raises(RepeatedKeyError) as found:
        check_msgpack_keys(body)
    assert found.value.reason == reason


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
def test_a_decoder_that_is_asked_to_refuses(codec: Codec) -> None:
    """With the place; others take the last one, as it was said."""
    body = b'{"a":[{"b":1,"b":2}]}' if codec is JSON else b"\x81\xa1a\x91\x82\xa1b\x01\xa1b\x02"
    assert codec.decoder(dict[str, Any])(body) == {"a": [{"b": 2}]}
    with pytest.raises(DecodeError) as found:
        codec.decoder(dict[str, Any], unique=True)(body)
    assert str(found.value) == "$.a[0]: key 'b' comes twice"


def test_what_the_type_does_not_know_counts_as_well() -> None:
    """A type that skips an object may not be the only one that reads it."""

    class Known(msgspec.Struct):
        a: int

    with pytest.raises(DecodeError, match=r"\$\.more: key 'b' comes twice"):
        JSON.decoder(Known, unique=True)(b'{"a":1,"more":{"b":1,"b":2}}')


def test_far_inside_only_the_key_is_named() -> None:
    """A hostile body does not keep anybody busy with its path."""
    body = b"[" + b"{}," * 20_000 + b'{"b":1,"b":2}' + b",{}" * 20_000 + b"]"
    with pytest.raises(RepeatedKeyError) as found:
        check_json_keys(body + b" ")
    assert (found.value.path, found.value.reason) == ("", "key 'b' comes twice")


@pytest.mark.parametrize(
    "body",
    [b'{"a":%b}' % (b"9" * 5000), b'{"a":1e999,"\\ud800":1}', b'{"a":"\xc3\xa9","b":NaN}', b" [] "],
    ids=["long", "far", "strange", "spaces"],
)
def test_only_keys_matter(body: bytes) -> None:
    """Numbers that Python does not read, and texts that are not quite texts, are for others to judge."""
    check_json_keys(body)
