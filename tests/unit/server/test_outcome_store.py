"""The store of outcomes: what it keeps, for how long, and what goes first."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshcore.server.outcome_store import OVERHEAD, OutcomeStore

KEYS = st.sampled_from("abcdefgh")


class OutcomeStoreMachine(RuleBasedStateMachine):
    """Outcomes come, are asked for, and grow old."""

    @initialize(memory=st.integers(1, 5000))
    def begin(self, memory: int) -> None:
        """A server starts."""
        self.memory = memory
        self.store = OutcomeStore(memory)
        self.now = 1000.0
        self.model: list[tuple[str, bytes, float]] = []  # what was kept, without any bound, oldest first

    @rule(key=KEYS, data=st.binary(max_size=2000), seconds=st.floats(1e-9, 100))
    def keep(self, key: str, data: bytes, seconds: float) -> None:
        """One more is kept, unless it is larger than all there is."""
        kept = self.store.keep(key, data, seconds, self.now)
        assert kept is (len(data) + OVERHEAD <= self.memory)
        if kept:
            self.model = [entry for entry in self.model if entry[0] != key]
            self.model.append((key, data, self.now + seconds))
            expected = data if self.now + seconds > self.now else None
            assert self.store.get(key, self.now) == expected

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def ask_for_all(self) -> None:
        """What is still there is what was kept; what is missing is old, or was kept before all that are there."""
        found = [
            (key, self.store.get(key, self.now) == data)
            for key, data, until in self.model
            if until > self.now and self.store.get(key, self.now) is not None
        ]
        assert all(same for _, same in found)
        fresh = [key for key, _, until in self.model if until > self.now]
        assert [key for key, _ in found] == fresh[len(fresh) - len(found) :]
        for key, _, until in self.model:
            if until <= self.now:
                assert self.store.get(key, self.now) is None

    @invariant()
    def bounded(self) -> None:
        """It is never larger than it may be, and counts right."""
        if hasattr(self, "store"):
            assert 0 <= self.store.size <= self.memory
            assert self.store.size == sum(len(kept.data) + OVERHEAD for kept in self.store._kept.values())
            assert len(self.store) <= len(self.model)


TestOutcomeStore = OutcomeStoreMachine.TestCase
