"""What may be sent when: the states of the two halves of a call, and the table that leads from one to the next.

Each side keeps the state of both halves: of what it sends, and of what it receives. A call is over when its callee has
sent the last frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from meshcore.wire.frames import ITEMS, MORE, Kind, name_of


class State(IntEnum):
    """What one side of a call has sent so far."""

    IDLE = 0
    """Nothing."""
    REQUEST = 1
    """The beginning of the request."""
    REQUEST_BEFORE_ITEMS = 2
    """The beginning of the request, after which items come."""
    OPEN = 3
    """Whole items, or the request before them; another item may come."""
    ITEM = 4
    """The beginning of an item."""
    ANSWER = 5
    """The beginning of the answer."""
    ERROR = 6
    """The beginning of the error."""
    DONE = 7
    """Everything."""
    CANCELED = 8
    """The caller has given up."""


Rows = Mapping[State, Mapping[int, State]]

_MORE_DATA: Final = Kind.DATA | MORE
_CANCEL: Final[dict[int, State]] = {Kind.CANCEL: State.CANCELED}
_ERROR: Final[dict[int, State]] = {Kind.ERROR: State.DONE, Kind.ERROR | MORE: State.ERROR}
_ITEM: Final[dict[int, State]] = {Kind.ITEM: State.OPEN, Kind.ITEM | MORE: State.ITEM, Kind.END: State.DONE}


def expected(row: Mapping[int, State]) -> str:
    """The frames of a row, for an error text."""
    return ", ".join(name_of(kind) for kind in row) or "nothing more"


def _chunks(begun: State, then: State) -> dict[int, State]:
    return {_MORE_DATA: begun, Kind.DATA: then}


def _with_credit(rows: dict[State, dict[int, State]]) -> dict[State, dict[int, State]]:
    """Credit is given in any state between the first frame and the last."""
    return {state: row | {Kind.CREDIT: state} if row else row for state, row in rows.items()}


CALLER: Final[Rows] = _with_credit(
    {
        State.REQUEST: _chunks(State.REQUEST, State.DONE) | _CANCEL,
        State.REQUEST_BEFORE_ITEMS: _chunks(State.REQUEST_BEFORE_ITEMS, State.OPEN) | _CANCEL,
        State.OPEN: _ITEM | _CANCEL,
        State.ITEM: _chunks(State.ITEM, State.OPEN) | _CANCEL,
        State.DONE: {**_CANCEL},
        State.CANCELED: {},
    }
) | {
    State.IDLE: {
        Kind.REQUEST: State.DONE,
        Kind.REQUEST | MORE: State.REQUEST,
        Kind.REQUEST | ITEMS: State.OPEN,
        Kind.REQUEST | ITEMS | MORE: State.REQUEST_BEFORE_ITEMS,
    },
}
"""What a client sends for a call."""

CALLEE: Final[Rows] = _with_credit(
    {
        State.IDLE: {
            **_ITEM,
            Kind.ANSWER: State.DONE,
            Kind.ANSWER | MORE: State.ANSWER,
            Kind.REFUSED: State.DONE,
            **_ERROR,
        },
        State.OPEN: _ITEM | _ERROR,
        State.ITEM: _chunks(State.ITEM, State.OPEN) | _ERROR,
        State.ANSWER: _chunks(State.ANSWER, State.DONE) | _ERROR,
        State.ERROR: _chunks(State.ERROR, State.DONE) | _ERROR,
        State.DONE: {},
    }
)
"""What a server sends for a call. An error replaces the message in whose middle it comes."""
