"""Fills the page of the stream protocol, from its frames, tables of states, limits, and real connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final

from meshcore.wire import frames
from meshcore.wire.frames import HEAD, ITEMS, MORE, Feature, Kind, Reason, Refusal, Table
from meshcore.wire.stream.connection import Connection
from meshcore.wire.stream.limits import ANNOUNCED, Limits
from meshcore.wire.stream.states import CALLEE, CALLER, Rows, State
from tests.support.reference.docs import attribute_docs, meaning
from tests.support.reference.markdown import block, code, paragraphs, sentence, table

_BODIES: Final = {
    Kind.HELLO: "`mesh` (4 bytes), lowest version (1), highest version (1), features (4), then for each limit its "
    "number (1) and value (4)",
    Kind.DEFINE: "table (1), number of the entry (2), content",
    Kind.REQUEST: "number of the method (2), milliseconds that the caller waits or 0 (4), length of the headers (2), "
    "with TRACE the length of the trace (2) and the trace, headers, payload",
    Kind.ITEM: "payload",
    Kind.END: "",
    Kind.ANSWER: "payload",
    Kind.ERROR: "payload: the members of an exception, see [the wire](wire.md)",
    Kind.REFUSED: "refusal (1), text",
    Kind.CANCEL: "",
    Kind.DATA: "part of a payload",
    Kind.CREDIT: "of a call: items (4), bytes of items (4). Of the connection: bytes of small payloads (4), of large "
    "ones (4), of items (4)",
    Kind.PING: "8 bytes",
    Kind.PONG: "the same 8 bytes",
    Kind.GO_AWAY: "reason (1), last accepted call (4), text",
}
_OF_THE_CONNECTION: Final = {
    Kind.HELLO: "both",
    Kind.DEFINE: "client",
    Kind.PING: "both",
    Kind.PONG: "both",
    Kind.GO_AWAY: "both",
}


def stream() -> Callable[[str], str]:
    """Frames, states, limits, codes, and the bytes of a call."""
    parts = {
        "frames": _frames,
        "flags": lambda: table(
            ("flag", "bit", "meaning"),
            [
                (name, f"0x{getattr(frames, name):02x}", attribute_docs(frames)[name])
                for name in ("MORE", "ITEMS", "TRACE")
            ],
        ),
        "states": lambda: _members(State),
        "states of a client": lambda: _diagram(CALLER),
        "states of a server": lambda: _diagram(CALLEE),
        "tables": lambda: _members(Table),
        "features": lambda: _members(Feature),
        "limits": _limits,
        "reasons": lambda: _members(Reason),
        "refusals": lambda: _members(Refusal),
        "a call": _call,
    }
    return lambda place: parts[place]()


def _frames() -> str:
    docs = attribute_docs(Kind)
    rows = [(code(kind.name), str(kind.value), _sender(kind), _BODIES[kind], docs[kind.name]) for kind in Kind]
    return table(("frame", "kind", "sent by", "body (bytes)", "meaning"), rows)


def _sender(kind: Kind) -> str:
    if kind in _OF_THE_CONNECTION:
        return _OF_THE_CONNECTION[kind]
    senders = [
        name for name, rows in (("client", CALLER), ("server", CALLEE)) if any(kind in row for row in rows.values())
    ]
    return senders[0] if len(senders) == 1 else "both"


def _members(enum: type[IntEnum | Feature]) -> str:
    docs = attribute_docs(enum)
    return table(("name", "number", "meaning"), [(code(each.name), str(each.value), docs[each.name]) for each in enum])


def _limits() -> str:
    return table(
        ("limit", "number", "default", "meaning"),
        [
            (code(name), str(number), f"{getattr(Limits(), name):,}", sentence(meaning(Limits, name)))
            for number, name in enumerate(ANNOUNCED, start=1)
        ],
    )


def _diagram(rows: Rows) -> str:
    """Arrows with the same ends are one."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for state, row in rows.items():
        for kind, then in row.items():
            arrows.setdefault((state, then), []).append(_label(kind))
    lines = [f"    {state.name} --> {then.name}: {', '.join(labels)}" for (state, then), labels in arrows.items()]
    return block("mermaid", "\n".join(["stateDiagram-v2", f"    [*] --> {State.IDLE.name}", *sorted(lines)]))


def _label(kind: int) -> str:
    name = Kind(kind & ~(MORE | ITEMS)).name
    return name + "+ITEMS" * bool(kind & ITEMS) + "+MORE" * bool(kind & MORE)


def _call() -> str:
    """What two connections say to each other."""
    client, server = Connection(client=True, now=0.0), Connection(client=False, now=0.0)
    written = [("server", server.data_to_send()), ("client", client.data_to_send())]
    client.feed(written[0][1], 0.0)
    server.feed(written[1][1], 0.0)
    for sku in (b"\x91\xa4bolt", b"\x91\xa3nut"):
        client.request("shop:prices:price", sku, {"tenant": "blue"}, 5.0)
        written.append(("client", client.data_to_send()))
        [requested] = server.feed(written[-1][1], 0.0)
        server.answer(requested.call, b"\xcb\x3f\xf0\0\0\0\0\0\0")
        written.append(("server", server.data_to_send()))
        client.feed(written[-1][1], 0.0)
    return paragraphs(block("text", "\n".join(line for sender, data in written for line in _lines(sender, data))))


def _lines(sender: str, data: bytes) -> Iterator[str]:
    while data:
        size, kind, call = HEAD.unpack_from(data)
        body, data = data[HEAD.size : HEAD.size + size], data[HEAD.size + size :]
        shown = body.hex(" ") if kind != Kind.HELLO else f"{body[:10].hex(' ')} ..."
        yield f"{sender}  {size:08x} {kind:02x} {call:08x}  {Kind(kind).name:8}{shown}"
