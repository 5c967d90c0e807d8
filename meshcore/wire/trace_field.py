"""The trace of a call has a field of its own in a request: it differs for each call, and the other headers do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshcore.core.context.current_call import TRACEPARENT, TRACESTATE

PARENT_SIZE: Final = 55
"""Bytes of a traceparent of version 00. The tracestate follows it."""

LONGEST_TRACE: Final = PARENT_SIZE + 512
"""Bytes of the field: with the largest tracestate that has to be passed on (W3C Trace Context, 3.3.1.5)."""

_PARENT, _STATE = TRACEPARENT.encode(), TRACESTATE.encode()
_FIELDS: Final = frozenset({TRACEPARENT, TRACESTATE})
_NONE: Final[dict[str, str]] = {}


def split_trace(headers: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
    """The field, and the headers that are left. A trace that the field cannot hold stays among the headers."""
    parent = headers.get(TRACEPARENT)
    if parent is None or len(parent) != PARENT_SIZE or not parent.isascii():
        return b"", headers
    if len(headers) == 1:
        return parent.encode(), _NONE
    state = headers.get(TRACESTATE)
    if state is None:
        state = ""
    elif not (state and state.isascii() and len(state) <= LONGEST_TRACE - PARENT_SIZE):
        return b"", headers
    return (parent + state).encode(), {name: value for name, value in headers.items() if name not in _FIELDS}


def trace_headers(field: bytes) -> list[tuple[bytes, bytes]]:
    """The headers that the field stands for."""
    if len(field) == PARENT_SIZE:
        return [(_PARENT, field)]
    return [(_PARENT, field[:PARENT_SIZE]), (_STATE, field[PARENT_SIZE:])]
