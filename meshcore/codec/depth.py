"""Limits how deep a body may nest, before a decoder recurses into it.

msgspec's own `RecursionError` is not enough. Its limit depends on the interpreter: 1,000 frames less those of the
caller on CPython 3.11, about 10,000 on 3.13, where a thread with a stack of 512 KiB crashes. A value that was decoded
at a depth of 9,000 fails later, when it is printed, compared or encoded.

Claimed sizes need no check. msgspec preallocates at most 16 items per msgpack array since 0.14: a body of five bytes
that claims 2**32 items costs 0.6 KB. A test verifies that, for ormsgpack too.

Depth is the number of open containers: `1` has depth 0, `[]` depth 1, `[{"a": []}]` depth 3.

Both checks first compute an upper bound, at C speed: the number of bytes that may begin a container. It suffices for
nearly every small body. Otherwise the exact depth is computed, in linear time.
"""

from __future__ import annotations

import re
from itertools import accumulate


class LimitError(ValueError):
    """A body exceeds a limit. The text says which."""


class NestingError(LimitError):
    """A body nests deeper than allowed.

    Attributes:
        max_depth: The limit that was exceeded.
    """

    def __init__(self, max_depth: int) -> None:
        """Remember the limit."""
        super().__init__(f"nested deeper than {max_depth} levels (setting max_depth)")
        self.max_depth = max_depth


# --- JSON -------------------------------------------------------------------------------------------------------------

_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'"[]{}')
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_STRING = re.compile(rb'"[^"]*"?')
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")  # +1 and -1 when read as signed bytes


def check_json(data: bytes, max_depth: int) -> None:
    """Refuse JSON that nests too deep. The decoder finds malformed JSON.

    Args:
        data: The body.
        max_depth: The limit.

    Raises:
        NestingError: The body nests deeper.
    """
    if data.count(b"[") + data.count(b"{") > max_depth:
        _measure_json(data, max_depth)


def without_texts(data: bytes, ignored: bytes) -> bytes:
    """JSON without its texts, and without the bytes that are ignored."""
    if b"\\" in data:
        # Pairs are taken from the left end of a run of backslashes, as the decoder does.
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two adjacent quotes are an empty string, or the end of one string and the start of the next. Without them, every
    # other byte stays inside or outside of a string as before.
    structure = data.translate(None, ignored).replace(b'""', b"")
    return _STRING.sub(b"", structure) if b'"' in structure else structure


def _measure_json(data: bytes, max_depth: int) -> None:
    """Compute the exact depth: brackets inside strings do not count.

    The decoder stops at the first malformed byte, so the depth after that does not matter.
    """
    structure = without_texts(data, _NOT_STRUCTURE).translate(_ONE_KIND)

    # Removing the innermost pairs lowers the depth by one. That is fast for broad documents. It is repeated only while
    # it at least halves the rest, so the total time is linear for any document.
    rest, peeled = structure, 0
    while len(rest) + peeled > max_depth:
        fewer = rest.replace(b"[]", b"")
        if peeled == max_depth or 2 * len(fewer) > len(rest):
            depths = accumulate(memoryview(structure.translate(_STEPS)).cast("b"))
            if any(map(max_depth.__lt__, depths)):
                raise NestingError(max_depth)
            return
        rest, peeled = fewer, peeled + 1


# --- msgpack ----------------------------------------------------------------------------------------------------------

_NOT_CONTAINER = bytes(byte for byte in range(256) if not (0x80 <= byte <= 0x9F or 0xDC <= byte <= 0xDF))  # noqa: PLR2004


def _fixed_steps() -> bytes:
    steps = bytearray(256)
    steps[0x00:0x80] = b"\x01" * 0x80  # positive fixint
    steps[0xA0:0xC0] = bytes(range(1, 0x21))  # fixstr
    steps[0xE0:0x100] = b"\x01" * 0x20  # negative fixint
    for head, step in {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9}.items():  # nil, false, true, float32, float64
        steps[head] = step
    for shift in range(4):
        steps[0xCC + shift] = steps[0xD0 + shift] = 1 + (1 << shift)  # uint and int of 8 to 64 bits
    for shift in range(5):
        steps[0xD4 + shift] = 2 + (1 << shift)  # fixext of 1 to 16 bytes
    return bytes(steps)


FIXED = _fixed_steps()
"""The length of an item in bytes, by its first byte, the head. 0: the head alone does not tell."""
SIZED = {
    0xC4: (1, 0),
    0xC5: (2, 0),
    0xC6: (4, 0),  # bin
    0xC7: (1, 1),
    0xC8: (2, 1),
    0xC9: (4, 1),  # ext
    0xD9: (1, 0),
    0xDA: (2, 0),
    0xDB: (4, 0),  # str
}
"""Head: bytes of the size field, bytes between that and the payload. An ext has its type code there."""
CONTAINERS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""Head: bytes of the size field, items per unit of size."""


def check_msgpack(data: bytes, max_depth: int) -> None:
    """Refuse msgpack that nests too deep. The decoder finds malformed msgpack.

    Args:
        data: The body.
        max_depth: The limit.

    Raises:
        NestingError: The body nests deeper.
    """
    if len(data) > max_depth and len(data.translate(None, _NOT_CONTAINER)) > max_depth:
        _measure_msgpack(data, max_depth)


def _measure_msgpack(data: bytes, max_depth: int) -> None:
    """Walk through the items without decoding them. Ends where the decoder would find an error."""
    fixed = FIXED
    position, end = 0, len(data)
    left, outer = 1, list[int]()  # items left in this container, and in each of those around it
    while position < end:
        head = data[position]
        if step := fixed[head]:
            position += step
            left -= 1
        elif head < 0xA0:  # noqa: PLR2004 - fixmap and fixarray
            position += 1
            outer.append(left - 1)
            left = (head & 0x0F) << (head < 0x90)  # noqa: PLR2004 - an entry of a map is two items
            if len(outer) > max_depth:
                raise NestingError(max_depth)
        elif head in CONTAINERS:
            width, factor = CONTAINERS[head]
            outer.append(left - 1)
            left = int.from_bytes(data[position + 1 : position + 1 + width]) * factor
            position += 1 + width
            if len(outer) > max_depth:
                raise NestingError(max_depth)
        elif head in SIZED:
            width, gap = SIZED[head]
            position += 1 + width + gap + int.from_bytes(data[position + 1 : position + 1 + width])
            left -= 1
        else:  # 0xc1 is never used
            return
        while not left:
            if not outer:
                return
            left = outer.pop()
