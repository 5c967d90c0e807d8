"""Reads and writes the headers of a trace: W3C Trace Context (`traceparent`, `tracestate`) and W3C Baggage.

What is malformed is dropped, and so is what is larger than these standards ask a process to pass on.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable, Mapping, Sequence

from meshcore.core.context.current_call import BAGGAGE, TRACEPARENT, TRACESTATE

_PARENT_NAME = TRACEPARENT.encode()
_VERSION = "00"
_SIZE = 55  # characters of a traceparent of this version; later versions may append to it
_USUAL_PARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_KNOWN_FLAGS = 0b11
"""Sampled, and random trace id (Level 2). Other bits are set to zero, as the standard asks."""

_MOST_STATES = 32
_STATE_SIZE = 512
_LARGE_STATE = 128
"""Members of a tracestate, its characters, and those of a member which is dropped first (3.3.1.5)."""

_STATE = re.compile(
    r"([a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)

_MOST_BAGGAGE = 64
_BAGGAGE_SIZE = 8192
"""Members of a baggage, and its bytes: what a process must pass on at least (3.3.2)."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - a token of HTTP
_OCTETS = r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"
_MEMBER = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*{_OCTETS}([ \t]*;[ \t]*{_TOKEN}([ \t]*=[ \t]*{_OCTETS})?)*")

# Ids need to differ, and need not be hard to guess. To ask the system for each takes 3 us.
_random = random.Random()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def read_trace(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str] | None:
    """The headers of a trace that a request came with, in the form in which they are sent on.

    Args:
        headers: the names and values of these headers alone.

    Returns:
        The headers; None if none of them can be read.
    """
    if len(headers) == 1:
        name, value = headers[0]
        if name == _PARENT_NAME and _USUAL_PARENT.fullmatch(value):  # most have only this: in a third of the time
            return {TRACEPARENT: value.decode()}
    values: dict[str, list[str]] = {TRACEPARENT: [], TRACESTATE: [], BAGGAGE: []}
    for name, value in headers:
        values[name.decode()].append(value.decode("latin-1"))
    found: dict[str, str] = {}
    if parent := read_traceparent(values[TRACEPARENT]):
        found[TRACEPARENT] = parent
        if state := read_tracestate(values[TRACESTATE]):  # without a parent it means nothing
            found[TRACESTATE] = state
    if baggage := read_baggage(values[BAGGAGE]):
        found[BAGGAGE] = baggage
    return found or None


def read_traceparent(values: Sequence[str]) -> str:
    """The traceparent in the form of version 00; empty if there is none, more than one, or a malformed one."""
    found = _PARENT.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        return ""
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == _VERSION and more is not None):
        return ""
    if not (trace_id.strip("0") and span_id.strip("0")):
        return ""
    return f"{_VERSION}-{trace_id}-{span_id}-{int(flags, 16) & _KNOWN_FLAGS:02x}"


def read_tracestate(values: Iterable[str]) -> str:
    """The tracestate; empty if there is none, or if a member is malformed.

    A tracestate that is too large loses its large members first, then its last ones, which are the oldest.
    """
    members: dict[str, str] = {}
    for text in _members(values):
        found = _STATE.fullmatch(text)
        if found is None:
            return ""
        members.setdefault(found[1], text)
    if len(members) > _MOST_STATES:
        return ""
    kept = list(members.values())
    if _joined_size(kept) > _STATE_SIZE:
        kept = [each for each in kept if len(each) <= _LARGE_STATE]
    while _joined_size(kept) > _STATE_SIZE:
        kept.pop()
    return ",".join(kept)


def read_baggage(values: Iterable[str]) -> str:
    """The baggage without malformed members, and without those that are too many or too much."""
    kept: list[str] = []
    size = -1
    for text in _members(values):
        if len(kept) < _MOST_BAGGAGE and size + 1 + len(text) <= _BAGGAGE_SIZE and _MEMBER.fullmatch(text):
            kept.append(text)
            size += 1 + len(text)
    return ",".join(kept)


def begin_trace() -> Mapping[str, str]:
    """The headers of a new trace. It is not sampled, since nothing records it here, and its id is random."""
    trace_id, span_id = _random.getrandbits(128) or 1, _random.getrandbits(64) or 1
    return {TRACEPARENT: f"{_VERSION}-{trace_id:032x}-{span_id:016x}-02"}


def ids_of(headers: Mapping[str, str] | None) -> tuple[str, str]:
    """Trace id and span id in the headers of a trace, as `read_trace` and `begin_trace` return them; empty for none."""
    parent = "" if headers is None else headers.get(TRACEPARENT, "")
    return (parent[3:35], parent[36:52]) if len(parent) == _SIZE else ("", "")


def _members(values: Iterable[str]) -> Iterable[str]:
    """The members of lists, which may be empty (RFC 9110, 5.6.1)."""
    for value in values:
        for text in value.split(","):
            if stripped := text.strip(" \t"):
                yield stripped


def _joined_size(members: Sequence[str]) -> int:
    return sum(map(len, members)) + len(members) - 1
