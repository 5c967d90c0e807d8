"""Protocol Buffers for the peers that speak it: what a compiler makes of a `.proto` file, made at run time.

message Node { string sku = 1; int64 quantity = 2; string price = 3; repeated Node parts = 4; }
message Text { string text = 1; }
message Count { int64 count = 1; }
message Frame { int64 id = 1; Node tree = 2; Text text = 3; }  // for many calls in one stream
message Empty {}
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from benchmarks.comparison.payload import Node

PACKAGE = "bench"

STRING, INTEGER, MESSAGE = (
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_INT64,
    FieldDescriptorProto.TYPE_MESSAGE,
)
ONE, MANY = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED


def _message(name: str, *fields: tuple[str, int, int, str]) -> DescriptorProto:
    described = [
        FieldDescriptorProto(name=name, number=number, type=kind, label=label, type_name=type_name)
        if type_name
        else FieldDescriptorProto(name=name, number=number, type=kind, label=label)
        for number, (name, kind, label, type_name) in enumerate(fields, 1)
    ]
    return DescriptorProto(name=name, field=described)


_NODE, _TEXT = f".{PACKAGE}.Node", f".{PACKAGE}.Text"
_pool = DescriptorPool()
_pool.Add(
    FileDescriptorProto(
        name="bench.proto",
        package=PACKAGE,
        syntax="proto3",
        message_type=[
            _message(
                "Node",
                ("sku", STRING, ONE, ""),
                ("quantity", INTEGER, ONE, ""),
                ("price", STRING, ONE, ""),
                ("parts", MESSAGE, MANY, _NODE),
            ),
            _message("Text", ("text", STRING, ONE, "")),
            _message("Count", ("count", INTEGER, ONE, "")),
            _message("Frame", ("id", INTEGER, ONE, ""), ("tree", MESSAGE, ONE, _NODE), ("text", MESSAGE, ONE, _TEXT)),
            _message("Empty"),
        ],
    )
)


def _class(name: str) -> Any:
    return GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


NodeMessage, TextMessage, CountMessage, FrameMessage, EmptyMessage = (
    _class(name) for name in ("Node", "Text", "Count", "Frame", "Empty")
)


def to_message(node: Node) -> Any:
    """The message for a node."""
    return NodeMessage(
        sku=node.sku, quantity=node.quantity, price=node.price, parts=[to_message(part) for part in node.parts]
    )


def to_node(message: Any) -> Node:
    """The node in a message."""
    return Node(message.sku, message.quantity, message.price, [to_node(part) for part in message.parts])
