"""What is called, the same for all peers. Standard library only: it is imported in the environments of all peers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Workload(StrEnum):
    """What one call carries, in both directions."""

    EMPTY = "empty"
    TREE = "tree"
    TEXT = "100 KB"
    STREAM = "stream"


@dataclass
class Node:
    """A node of the tree, and an item of the stream. A price is a text, as not all peers have decimals."""

    sku: str = ""
    quantity: int = 0
    price: str = ""
    parts: list[Node] = field(default_factory=list)


TEXT = "0123456789" * 10_000
"""The 100 KB: a text, since JSON has no bytes."""


def tree(depth: int = 2, number: int = 1) -> Node:
    """Seven nodes, each with two below it or none: 488 bytes of JSON."""
    parts = [tree(depth - 1, 2 * number + at) for at in (0, 1)] if depth else []
    return Node(f"item-number-{number}", number, f"{1999 * number // 100}.{1999 * number % 100:02d}", parts)


def item(number: int) -> Node:
    """The item of a stream with this number, counted from 0."""
    return Node("item-number-1", number, "19.99")
