"""The calls of one instance, and whether it is ejected. Pure: time and randomness are arguments."""

from __future__ import annotations

import random
from enum import Enum
from math import inf

from meshcore.core.policy import Rules
from meshcore.traffic.outcome import Outcome

_BUCKETS, _WIDTH = 10, 1.0
"""The window for the success rate of an instance, as Linkerd's: ten buckets of one second."""

_MIN_CALLS = 10
"""With fewer calls in the window the success rate is ignored."""

_LATE_ANSWER = 0.1
"""Seconds. An answer that arrives so soon after a call was sent may have left the instance before the call came."""

_SILENCE = 0.05
"""Seconds without an answer, with calls that came since the last one, that show that an instance has stopped."""


class State(Enum):
    """The state of an instance, see the diagram in `meshcore.traffic.ejection`."""

    ADMITTED = "admitted"
    EJECTED = "ejected"
    PROBED = "probed"


class InstanceMonitor:
    """The calls and the ejection of one instance.

    Attributes:
        state: whether it is ejected.
        pending: calls in flight.
        until: the end of its ejection: from then on it may be probed.
        ejections: the number of ejections in a row.
        answered: when it answered a call last.
        asked: calls that were sent to it since.
        hung: since when it is known to hang, inf if it does not.
        broken: when it first failed a call without an answer since it answered last, inf if it has not.
        live: whether its server answered a check since its ejection.
    """

    __slots__ = (
        "_at",
        "_bad",
        "_failures_in_row",
        "_good",
        "_healthy_since",
        "_until",
        "answered",
        "asked",
        "broken",
        "ejections",
        "hung",
        "live",
        "pending",
        "state",
        "until",
    )

    def __init__(self) -> None:
        self.state = State.ADMITTED
        self.pending = 0
        self.until = 0.0
        self.ejections = 0
        self.answered = -inf
        self.asked = 0
        self.hung = inf
        self.broken = inf
        self.live = False
        self._failures_in_row = 0
        self._healthy_since = 0.0
        self.reset_counts()

    def reset_counts(self) -> None:
        """Clear the window."""
        self._good = [0] * _BUCKETS
        self._bad = [0] * _BUCKETS
        self._at = 0
        self._until = _WIDTH  # when the current bucket ends: to divide by the width takes 0.1 us

    def count(self, outcome: Outcome, now: float) -> None:
        """Count a success or a failure."""
        at = int(now / _WIDTH)
        if at > self._at:
            for each in range(max(self._at + 1, at - _BUCKETS + 1), at + 1):
                self._good[each % _BUCKETS] = self._bad[each % _BUCKETS] = 0
            self._at = at
            self._until = (at + 1) * _WIDTH
        if outcome is Outcome.SUCCEEDED:
            self._failures_in_row = 0
            self._good[at % _BUCKETS] += 1
        else:
            self._failures_in_row += 1
            self._bad[at % _BUCKETS] += 1

    def succeed(self, now: float) -> None:
        """Record that it answered a call, and count a success: `answer` and `count` in one."""
        self.answered, self.asked = now, 0
        self.hung = self.broken = inf
        if now >= self._until:
            self.count(Outcome.SUCCEEDED, now)
            return
        self._failures_in_row = 0
        self._good[self._at % _BUCKETS] += 1

    def fails(self, rules: Rules) -> bool:
        """Whether it fails often enough to be ejected."""
        if self._failures_in_row >= rules.consecutive_failures:
            return True
        bad = sum(self._bad)
        calls = bad + sum(self._good)
        return calls >= _MIN_CALLS and calls - bad < rules.success_rate * calls

    def eject(self, rules: Rules, now: float, rng: random.Random) -> None:
        """Eject it for a random time. The longest time doubles with each ejection, the shortest is half of it."""
        longest = min(rules.ejection * 2.0**self.ejections, rules.ejection_max)
        self.state = State.EJECTED
        self.until = now + longest * rng.uniform(0.5, 1.0)
        self.ejections += longest < rules.ejection_max  # a higher number has no effect
        self.live = False
        self._failures_in_row = 0
        self.reset_counts()

    def postpone(self, rules: Rules, now: float, rng: random.Random) -> None:
        """Keep it ejected for as long as at first: a probe told nothing, so the next call would wait in vain, too."""
        self.state = State.EJECTED
        self.until = now + rules.ejection * rng.uniform(0.5, 1.0)
        self.live = False

    def admit(self, now: float) -> None:
        """End the ejection."""
        self.state = State.ADMITTED
        self._healthy_since = now

    def forget_ejection(self, rules: Rules, now: float) -> None:
        """Count one ejection less if it has been healthy for as long as its next ejection could be."""
        if now - self._healthy_since >= rules.ejection * 2.0**self.ejections:
            self.ejections -= 1
            self._healthy_since = now

    def answer(self, now: float) -> None:
        """Record that it answered a call."""
        self.answered, self.hung, self.broken, self.asked = now, inf, inf, 0

    def hang(self, began: float, now: float) -> None:
        """Record that a call, sent at `began`, hangs."""
        if self.answered < began + _LATE_ANSWER:
            self.hung = min(self.hung, now)

    def stopped_since(self, began: float, now: float) -> bool:
        """Whether it may have stopped answering because of a call that was sent to it at `began`.

        It has not if it has answered other calls since and goes on, or if it was known to hang before.
        """
        if self.hung < inf:
            return self.hung >= began
        if self.answered < began + _LATE_ANSWER:
            return True
        return self.asked > 0 and self.answered < now - _SILENCE
