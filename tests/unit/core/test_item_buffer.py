"""The buffer of a stream: every order of events leaves it in the state that its diagram names."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshcore.core.streaming.item_buffer import Flow, ItemBuffer, StreamClosedError

LIMIT = 4


class Buffering(RuleBasedStateMachine):
    """A buffer beside a model of it: a list, and how the stream ended."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = ItemBuffer(LIMIT)
        self.left: list[int] = []
        self.state = Flow.OPEN
        self.error: Exception | None = None
        self.written = 0

    @rule()
    def write(self) -> None:
        """A writer that waits while the buffer is full is refused only after the end."""
        if self.buffer.full:
            return
        if self.state is not Flow.OPEN:
            with pytest.raises(StreamClosedError, match=self.state.value):
                self.buffer.put(self.written)
            return
        self.buffer.put(self.written)
        self.left.append(self.written)
        self.written += 1

    @precondition(lambda self: self.left)
    @rule()
    def read(self) -> None:
        """Items come in the order in which they were written."""
        assert self.buffer.take() == self.left.pop(0)

    @rule()
    def read_all(self) -> None:
        """All that is there, at once."""
        assert self.buffer.take_all() == self.left
        self.left = []

    @rule(error=st.sampled_from([None, ValueError("broken"), KeyError("gone")]))
    def end(self, error: Exception | None) -> None:
        """Only the first end counts, and no item is lost by it."""
        self.buffer.end(error)
        if self.state is Flow.OPEN:
            self.state, self.error = Flow.ENDED, error

    @rule()
    def close(self) -> None:
        """Closing drops the items and the error."""
        self.buffer.close()
        self.state, self.left, self.error = Flow.CLOSED, [], None

    @precondition(lambda self: not self.left and self.state is not Flow.OPEN)
    @rule()
    def ask_for_the_end(self) -> None:
        """The error is told once."""
        assert self.buffer.take_error() is self.error
        self.error = None

    @invariant()
    def agrees_with_the_model(self) -> None:
        """Whatever has happened, it is bounded, and nobody waits for what cannot come."""
        assert self.buffer.state is self.state
        assert len(self.buffer) == len(self.left) <= LIMIT
        assert self.buffer.full == (self.state is Flow.OPEN and len(self.left) == LIMIT)
        assert self.buffer.low == (self.state is not Flow.OPEN or len(self.left) <= LIMIT // 2)
        assert self.buffer.readable == (bool(self.left) or self.state is not Flow.OPEN)


TestBuffering = Buffering.TestCase
