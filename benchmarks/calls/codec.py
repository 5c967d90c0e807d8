"""What encoding and decoding cost: msgspec against ormsgpack and pydantic, and our codec over the bare library.

Run: `python -m benchmarks.calls.codec`. Trees of 7 nodes; medians of interleaved rounds, in us; no garbage collection.
"""

import datetime as dt
import gc
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar
from uuid import NAMESPACE_DNS, UUID, uuid5

import msgspec
import ormsgpack
from pydantic import BaseModel

from meshcore.codec.codec import JSON, MSGPACK
from meshcore.codec.depth import check_json, check_msgpack
from meshcore.codec.encode_error_path import find_non_finite

ROUNDS, CALLS = 15, 1000
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
T = TypeVar("T")


class Kind(Enum):
    """Some enum."""

    RETAIL = "retail"


@dataclass
class Order:
    """A recursive dataclass of plain fields."""

    name: str
    count: int
    price: float
    items: "list[Order]"


@dataclass
class Leaf:
    """As `Order`, but its depth is bounded: nothing needs to be guarded."""

    name: str
    count: int
    price: float


@dataclass
class Flat:
    """Seven nodes in two levels."""

    items: list[Leaf]


@dataclass
class Rich:
    """A recursive dataclass of fields that JSON has no types for."""

    name: str
    price: Decimal
    at: dt.datetime
    key: UUID
    kind: Kind
    items: "list[Rich]"


class Model(BaseModel):
    """`Order` in pydantic."""

    name: str
    count: int
    price: float
    items: "list[Model]"


def tree(make: Callable[[int, list[T]], T], depth: int = 2, index: int = 0) -> T:
    """A complete binary tree."""
    return make(index, [tree(make, depth - 1, 2 * index + child) for child in (1, 2)] if depth else [])


def plain(index: int) -> tuple[str, int, float]:
    """The plain fields of a node."""
    return f"node number {index:08d} xx", index * 1000 + 7, 19.99 * index + 0.5


VALUES: dict[str, Any] = {
    "order": tree(lambda index, items: Order(*plain(index), items)),
    "flat": Flat([Leaf(*plain(index)) for index in range(7)]),
    "rich": tree(
        lambda index, items: Rich(
            f"node {index}", Decimal("19.99"), NOW, uuid5(NAMESPACE_DNS, str(index)), Kind.RETAIL, items
        )
    ),
    "model": tree(
        lambda index, items: Model(
            **dict(zip(("name", "count", "price"), plain(index), strict=True)),  # type: ignore[arg-type]
            items=items,
        )
    ),
}


def measure(table: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds per call: every round times every row once, so a slow moment of the machine hits all alike."""
    samples: dict[str, list[float]] = {name: [] for name in table}
    gc.disable()
    for _ in range(ROUNDS):
        for name, call in table.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            samples[name].append((time.perf_counter() - start) / CALLS * 1e6)
        gc.collect()
    gc.enable()
    return {name: statistics.median(times) for name, times in samples.items()}


def libraries(kind: str) -> dict[str, Callable[[], object]]:
    """The libraries, bare."""
    value = VALUES[kind]
    if kind == "model":
        serializer, validator = Model.__pydantic_serializer__, Model.__pydantic_validator__
        text, packed = serializer.to_json(value), msgspec.msgpack.encode(value.model_dump(mode="json"))
        return {
            "json encode pydantic": lambda: serializer.to_json(value),
            "json decode pydantic": lambda: validator.validate_json(text),
            "msgpack encode msgspec": lambda: msgspec.msgpack.encode(value.model_dump(mode="json")),
            "msgpack encode ormsgpack": lambda: ormsgpack.packb(value, option=ormsgpack.OPT_SERIALIZE_PYDANTIC),
            "msgpack decode msgspec": lambda: validator.validate_python(msgspec.msgpack.decode(packed)),
            "msgpack decode ormsgpack": lambda: validator.validate_python(ormsgpack.unpackb(packed)),
        }
    type_ = type(value)
    json_encode, json_decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(type_).decode
    pack, unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(type_).decode
    text, packed, foreign = json_encode(value), pack(value), ormsgpack.packb(value, default=str)
    return {
        "json encode msgspec": lambda: json_encode(value),
        "json decode msgspec": lambda: json_decode(text),
        "msgpack encode msgspec": lambda: pack(value),
        "msgpack encode ormsgpack": lambda: ormsgpack.packb(value, default=str),
        "msgpack decode msgspec": lambda: unpack(packed),
        "msgpack decode ormsgpack": lambda: msgspec.convert(ormsgpack.unpackb(foreign), type_),
    }


def ours(kind: str) -> dict[str, Callable[[], object]]:
    """The codec of this project, with its guard, its errors and its checks."""
    value, table = VALUES[kind], dict[str, Callable[[], object]]()
    for codec in (JSON, MSGPACK):
        encode, checked = codec.encoder(type(value)), codec.encoder(type(value), validate=True)
        decode, data = codec.decoder(type(value)), encode(value)
        table |= {
            f"{codec.name} encode codec": lambda encode=encode: encode(value),
            f"{codec.name} encode codec, validated": lambda checked=checked: checked(value),
            f"{codec.name} decode codec": lambda decode=decode, data=data: decode(data),
        }
    return table


def validation() -> dict[str, Callable[[], object]]:
    """Ways to find out whether a value fits its type."""
    value = VALUES["order"]
    packed, unpack = msgspec.msgpack.encode(value), msgspec.msgpack.Decoder(Order).decode
    return {
        "convert the value (looks at the class only)": lambda: msgspec.convert(value, Order),
        "convert its plain form": lambda: msgspec.convert(msgspec.to_builtins(value), Order),
        "decode what was encoded": lambda: unpack(packed),
    }


def guards() -> dict[str, Callable[[], object]]:
    """The nesting check alone."""
    small = VALUES["order"]
    text, packed = msgspec.json.encode(small), msgspec.msgpack.encode(small)
    return {
        f"guard json {len(text)} bytes": lambda: check_json(text, 128),
        f"guard msgpack {len(packed)} bytes": lambda: check_msgpack(packed, 128),
        "search for NaN, when a body has a null": lambda: find_non_finite(small),
    }


def once(call: Callable[[], object]) -> float:
    """Milliseconds of one call, the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def large() -> dict[str, float]:
    """Milliseconds for a body of some megabytes: the guard next to the typed decode."""
    value = [VALUES["order"]] * 8500
    text, packed = msgspec.json.encode(value), msgspec.msgpack.encode(value)
    read, unpack = msgspec.json.Decoder(list[Order]).decode, msgspec.msgpack.Decoder(list[Order]).decode
    return {
        f"guard json {len(text):,} bytes": once(lambda: check_json(text, 128)),
        f"decode json {len(text):,} bytes": once(lambda: read(text)),
        f"guard msgpack {len(packed):,} bytes": once(lambda: check_msgpack(packed, 128)),
        f"decode msgpack {len(packed):,} bytes": once(lambda: unpack(packed)),
    }


def main() -> None:
    """Print the tables."""
    print(f"CPython {platform.python_version()}, msgspec {msgspec.__version__}, ormsgpack {ormsgpack.__version__}")
    print(f"\n{'value':8}{'row':36}{'us':>8}  {'to msgspec (pydantic)':>22}")
    for kind in VALUES:
        figures = measure(libraries(kind) | ours(kind))
        for row in sorted(figures):
            base = (
                figures.get(" ".join([*row.split()[:2], "msgspec"]))
                or figures[" ".join([*row.split()[:2], "pydantic"])]
            )
            print(f"{kind:8}{row:36}{figures[row]:8.2f}  {figures[row] / base:21.2f}x {figures[row] - base:+.2f}")
    print(f"\n{'does a value fit its type? (order)':44}{'us':>8}")
    for row, figure in (measure(validation()) | measure(guards())).items():
        print(f"{row:44}{figure:8.2f}")
    print(f"\n{'large bodies':44}{'ms':>8}")
    for row, figure in large().items():
        print(f"{row:44}{figure:8.1f}")


if __name__ == "__main__":
    main()
