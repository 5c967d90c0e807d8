"""A key that comes twice in JSON is found, however it is written, and nothing else is."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.codec.codec import JSON, MSGPACK
from meshcore.codec.duplicate_keys import DuplicateKeyError, check_duplicate_keys
from meshcore.codec.errors import DecodeError


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


@given(TREES, st.data())
def test_one_is_found_if_there_is_any(tree, data):
    """Whatever the spaces and escapes."""
    written = as_json(tree, data.draw).encode()
    msgspec.json.decode(written)
    there = list(repeated(tree))
    if not there:
        check_duplicate_keys(written)
        return
    with pytest.raises(DuplicateKeyError) as found:
        check_duplicate_keys(written)
    assert (found.value.path, found.value.reason) in [(path, f"key {key!r} comes twice") for path, key in there]


def test_a_decoder_that_is_asked_to_refuses() -> None:
    """With the place; another takes the last one, and so does msgpack's, for which there is no such rule."""
    body = b'{"a":[{"b":1,"b":2}]}'
    packed = b"\x81\xa1a\x91\x82\xa1b\x01\xa1b\x02"
    assert JSON.decoder(dict[str, Any])(body) == {"a": [{"b": 2}]}
    assert MSGPACK.decoder(dict[str, Any], unique=True)(packed) == {"a": [{"b": 2}]}
    with pytest.raises(DecodeError) as found:
        JSON.decoder(dict[str, Any], unique=True)(body)
    assert str(found.value) == "$.a[0]: key 'b' comes twice"


def test_what_the_type_does_not_know_counts_as_well() -> None:
    """A type that skips an object may not be the only one that reads it."""

    class Known(msgspec.Struct):
        a: int

    with pytest.raises(DecodeError, match=r"\$\.more: key 'b' comes twice"):
        JSON.decoder(Known, unique=True)(b'{"a":1,"more":{"b":1,"b":2}}')


def test_of_a_large_body_only_the_key_is_named() -> None:
    """A hostile one does not keep anybody busy with its path."""
    body = b"[" + b"{}," * 20_000 + b'{"b":1,"b":2}' + b",{}" * 20_000 + b"]"
    with pytest.raises(DuplicateKeyError) as found:
        check_duplicate_keys(body + b" ")
    assert (found.value.path, found.value.reason) == ("", "key 'b' comes twice")


@pytest.mark.parametrize(
    "body",
    [b'{"a":%b}' % (b"9" * 5000), b'{"a":1e999,"\\ud800":1}', b'{"a":"\xc3\xa9","b":NaN}', b" [] "],
    ids=["long", "far", "strange", "spaces"],
)
def test_only_keys_matter(body: bytes) -> None:
    """Numbers that Python does not read, and texts that are not quite texts, are for others to judge."""
    check_duplicate_keys(body)
