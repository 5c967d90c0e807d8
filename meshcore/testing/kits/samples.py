"""The values that the conformance kit for channels sends, of all types that travel."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from uuid import UUID

from meshcore.testing.kits.conformance import Circle, Colour, Everything, Level, Point, Scalars, Square, Tree

TEXTS = (
    *("/", "?", "#", "%", "%2F", "%25", "a/b?c#d%e&f=g;h+i"),
    *(" ", "+", "&", "=", ",", '"', "'", "\\", "{text}", "<a>", "\n\t\r", "\x00\x7f"),
    *("grüße", "日本語", "𝄞 e\u0301", "null", "true", "0"),
)
STEPS = ("..", ".")  # in the path of a URL they lead to another path
SCALARS = Scalars(
    "a/b?c#d%e&f=g h+i grüße 日本語 𝄞",
    -(2**63),
    1.7976931348623157e308,
    True,  # noqa: FBT003
    Decimal("-12345678901234567890.0123456789"),
    dt.datetime(1969, 12, 31, 1, 2, 3, 4, tzinfo=dt.timezone(-dt.timedelta(hours=3, minutes=30))),
    dt.date(1, 1, 1),
    dt.timedelta(days=-2, seconds=3, microseconds=5),
    UUID(int=2**128 - 1),
    Colour.BLUE,
    Level.HIGH,
    bytes(range(256)),
)
EVERYTHING = Everything(
    scalars=SCALARS,
    tree=Tree("root", [Tree("a", [Tree("", parent=Tree("p"))]), Tree("b")]),
    shapes=[Circle(0.1), Square(2), Circle(-1e-9)],
    maybe=None,
    anything={"a": [1, 2.5, None, True, "x", {"": []}]},
    pair=(0, ""),
    many=(1.0, 2.5, -3.0),
    distinct={"a", "ä", ""},
    frozen=frozenset({1, 2}),
    table={"": [], "ключ": [Decimal("0.10"), Decimal(7)]},
    by_number={-1: "minus", 2: "two"},
    by_colour={Colour.RED: Level.LOW},
    point=Point(1.5, -2.0),
    labels={"colour": Colour.BLUE},
)
EMPTY = Everything(
    scalars=Scalars(),
    tree=Tree(""),
    shapes=[],
    maybe=0,
    anything=None,
    pair=(0, ""),
    many=(),
    distinct=set(),
    frozen=frozenset(),
    table={},
    by_number={},
    by_colour={},
    point=Point(0.0, 0.0),
    labels={},
)
