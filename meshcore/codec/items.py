"""Limits how many items a body may have: the parts of its lists and objects.

An empty list takes one byte in msgpack and 80 in memory, an empty dict 90, a dict of one item 250: 4 MB of empty lists
became 580 MB. A longer text or a number of full length takes little more in memory than in the body. So what a body may
cost in memory, and in the time to make and to release it, is a matter of its items, more than of its bytes.

All items count where a type does not say what they are: in untyped and recursive values and in models. So they do in
sets and dicts whose keys are looked at before they are inserted (see `flooding`): 4 MB of them took 360. For other
types only the lists and objects count, if there is a list of such: a list of a million small integers is no harm.

An empty list or object counts as if it had one item. A body with fewer bytes than the limit allows items is not looked
at, which spares most bodies the count. JSON is counted at C speed, msgpack one by one up to the limit, in 0.1 us each.
"""

from __future__ import annotations

from meshcore.codec.depth import CONTAINERS, FIXED, SIZED, LimitError, without_texts

_FIRST_CONTAINER, _LAST_CONTAINER = 0x80, 0x9F  # heads of those with up to 15 entries or items
_NEVER_USED = 0xC1
_NOT_ITEMS = bytes(byte for byte in range(256) if byte not in b'"[]{},')


class ItemsError(LimitError):
    """A body has more items than allowed."""

    def __init__(self, max_items: int) -> None:
        """Say how many are allowed."""
        super().__init__(f"more than {max_items} items (setting max_items)")


def check_json_items(data: bytes, max_items: int, *, containers: bool) -> None:
    """Refuse JSON with too many items. The decoder finds malformed JSON.

    Args:
        data: The body.
        max_items: The limit.
        containers: Whether only lists and objects count.

    Raises:
        ItemsError: There are more.
    """
    if len(data) > max_items and _json_items(data, containers=containers) > max_items:
        found = _json_items(without_texts(data, _NOT_ITEMS), containers=containers)
        if found > max_items:
            raise ItemsError(max_items)


def _json_items(data: bytes, *, containers: bool) -> int:
    """The first item of a list or object stands behind its bracket, each other behind a comma."""
    return data.count(b"[") + data.count(b"{") + (0 if containers else data.count(b","))


def check_msgpack_items(data: bytes, max_items: int, *, containers: bool) -> None:
    """Refuse msgpack with too many items. The decoder finds malformed msgpack.

    Args:
        data: The body.
        max_items: The limit.
        containers: Whether only lists and objects count.

    Raises:
        ItemsError: There are more.
    """
    position, end, items = 0, len(data), 0
    if end <= max_items:
        return
    while position < end and items <= max_items:
        head = data[position]
        if step := FIXED[head]:
            position += step
        elif _FIRST_CONTAINER <= head <= _LAST_CONTAINER:
            count = head & 0x0F
            items += count if count and not containers else 1
            position += 1
        elif head in CONTAINERS:
            width, _ = CONTAINERS[head]
            count = int.from_bytes(data[position + 1 : position + 1 + width])
            items += count if count and not containers else 1
            position += 1 + width
        elif head == _NEVER_USED:
            return
        else:
            width, gap = SIZED[head]
            position += 1 + width + gap + int.from_bytes(data[position + 1 : position + 1 + width])
    if items > max_items:
        raise ItemsError(max_items)
