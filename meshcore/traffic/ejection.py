"""Ejects instances that fail (outlier ejection), and limits the calls in flight to each instance.

An ejected instance gets no calls for a while. Then one real call probes it; if that fails, the next ejection is longer.
Pure: time and randomness are arguments.

    admitted --failures--> ejected --time--> due --one call begins--> probed --success--> admitted
                              ^                ^-----given up-----------'  |
                              '-------------------failure-----------------'
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from enum import Enum
from math import inf

from meshcore.core.policy import Rules
from meshcore.traffic.outcome import Outcome

_BUCKETS, _WIDTH = 10, 1.0
"""The window for the success rate of an instance, as Linkerd's: ten buckets of one second."""

_MIN_CALLS = 10
"""With fewer calls in the window the success rate is ignored."""

_PROBE_GRACE = 1.0
"""Times the policy's `ejection`. For so long after its ejection, an instance is probed only by calls that can be
repeated elsewhere; then by any call."""

_LATE_ANSWER = 0.1
"""Seconds. An answer that arrives so soon after a call was sent may have left the instance before the call came."""

_NEUTRAL = frozenset({Outcome.IGNORABLE, Outcome.REFUSED})
"""Outcomes that are neither a success nor a failure of the instance."""


_ANSWERS = frozenset({Outcome.SUCCEEDED, Outcome.REFUSED})


class State(Enum):
    """The state of an instance, see the diagram above."""

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
        hung: since when it is known to hang, inf if it does not.
    """

    __slots__ = (
        "_at",
        "_bad",
        "_failures_in_row",
        "_good",
        "_healthy_since",
        "answered",
        "ejections",
        "hung",
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
        self.hung = inf
        self._failures_in_row = 0
        self._healthy_since = 0.0
        self.reset_counts()

    def reset_counts(self) -> None:
        """Clear the window."""
        self._good = [0] * _BUCKETS
        self._bad = [0] * _BUCKETS
        self._at = 0

    def count(self, outcome: Outcome, now: float) -> None:
        """Count a success or a failure."""
        at = int(now / _WIDTH)
        if at > self._at:
            for each in range(max(self._at + 1, at - _BUCKETS + 1), at + 1):
                self._good[each % _BUCKETS] = self._bad[each % _BUCKETS] = 0
            self._at = at
        if outcome is Outcome.SUCCEEDED:
            self._failures_in_row = 0
            self._good[at % _BUCKETS] += 1
        else:
            self._failures_in_row += 1
            self._bad[at % _BUCKETS] += 1

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
        self._failures_in_row = 0
        self.reset_counts()

    def admit(self, now: float) -> None:
        """End the ejection."""
        self.state = State.ADMITTED
        self._healthy_since = now

    def forget_ejection(self, rules: Rules, now: float) -> None:
        """Count one ejection less if it has been healthy for as long as its next ejection could be."""
        if now - self._healthy_since >= rules.ejection * 2.0**self.ejections:
            self.ejections -= 1
            self._healthy_since = now


class Ejection:
    """The ejection of the instances of one component.

    Attributes:
        panicking: as many instances are ejected as may be, and another one fails. The cause may then lie elsewhere.
    """

    def __init__(self, rules: Rules, rng: random.Random) -> None:
        self._rules = rules
        self._rng = rng
        self._monitors: dict[str, InstanceMonitor] = {}
        self._ejected: dict[str, InstanceMonitor] = {}  # ejected or probed
        self._full: set[str] = set()
        self._concurrency = rules.concurrency
        self._avoided: frozenset[str] = frozenset()
        self.panicking = False

    def __getitem__(self, instance: str) -> InstanceMonitor:
        return self._monitors[instance]

    def update(self, instances: Collection[str]) -> None:
        """Take over a new set of instances. Those that stay keep their history."""
        for gone in self._monitors.keys() - set(instances):
            del self._monitors[gone]
            self._ejected.pop(gone, None)
            self._full.discard(gone)
        for instance in instances:
            if instance not in self._monitors:
                self._monitors[instance] = InstanceMonitor()
        self.panicking = self.panicking and bool(self._ejected)
        self._update_avoided()

    @property
    def avoided(self) -> frozenset[str]:
        """Ids of the instances that get no calls: ejected, being probed, or full."""
        return self._avoided

    @property
    def full(self) -> frozenset[str]:
        """Ids of the instances that have as many calls in flight as they may."""
        return frozenset(self._full)

    @property
    def max_ejected(self) -> int:
        """How many instances may be ejected at once. One of two always may."""
        share = self._rules.max_ejected
        if not share or len(self._monitors) < 2:  # noqa: PLR2004 - a single instance is never ejected
            return 0
        return max(1, int(share * len(self._monitors)))

    def has_other(self, asked: Collection[str]) -> bool:
        """Whether another instance than these can be asked."""
        return any(instance not in asked and instance not in self._avoided for instance in self._monitors)

    def all_except(self, instances: Collection[str]) -> tuple[str, ...]:
        """The ids of all other instances."""
        return tuple(each for each in self._monitors if each not in instances)

    def due(self, now: float, candidates: Iterable[str], *, repeatable: bool) -> str | None:
        """The instance that this call should probe, None if there is none.

        Args:
            now: the time.
            candidates: ids of the instances that may serve the call.
            repeatable: whether the call can be sent elsewhere if the probe fails.
        """
        if not self._ejected:
            return None
        for instance in candidates:
            monitor = self._ejected.get(instance)
            if monitor is not None and monitor.state is State.EJECTED:
                grace = 0.0 if repeatable else _PROBE_GRACE * self._rules.ejection
                if now >= monitor.until + grace:
                    return instance
        return None

    def begin(self, instance: str) -> bool:
        """Record that a call is sent to an instance.

        Returns:
            Whether the call is a probe, as the instance is ejected.
        """
        monitor = self._monitors.get(instance)
        if monitor is None:
            return False
        monitor.pending += 1
        if monitor.pending >= self._concurrency:
            self._full.add(instance)
            self._update_avoided()
        if monitor.state is not State.EJECTED:
            return False
        monitor.state = State.PROBED
        return True

    def hang(self, instance: str, began: float, now: float) -> None:
        """Record that a call, sent at `began`, hangs."""
        monitor = self._monitors.get(instance)
        if monitor is not None and monitor.answered < began + _LATE_ANSWER:
            monitor.hung = min(monitor.hung, now)

    def stopped_since(self, instance: str, began: float, now: float) -> bool:
        """Whether an instance may have stopped answering because of a call that was sent to it at `began`.

        It has not if it has answered other calls since and goes on, or if it was known to hang before.
        """
        monitor = self._monitors.get(instance)
        if monitor is None:
            return True  # it has left
        if monitor.hung < inf:
            return monitor.hung >= began
        if monitor.answered < began + _LATE_ANSWER:
            return True
        return monitor.pending > 1 and monitor.answered < now - _LATE_ANSWER

    def end(
        self, instance: str, outcome: Outcome, now: float, *, probe: bool = False, answered: bool | None = None
    ) -> bool:
        """Record that a call has ended.

        Args:
            instance: the instance that was asked.
            outcome: the outcome of the call.
            now: the time.
            probe: whether the call was the probe. Others that were sent before the ejection do not count any more.
            answered: whether the instance answered. Default: if it succeeded or refused.

        Returns:
            Whether this ejected the instance.
        """
        monitor = self._monitors.get(instance)
        if monitor is None:
            return False  # the instance is gone
        if outcome in _ANSWERS if answered is None else answered:
            monitor.answered, monitor.hung = now, inf
        if monitor.pending:  # 0 if the instance left and came back since the call began
            monitor.pending -= 1
            if instance in self._full:
                self._full.discard(instance)
                self._update_avoided()
        if probe and monitor.state is State.PROBED:
            return self._end_probe(instance, monitor, outcome, now)
        if monitor.state is not State.ADMITTED or outcome in _NEUTRAL:
            return False
        return self._count(instance, monitor, outcome, now)

    def _end_probe(self, instance: str, monitor: InstanceMonitor, outcome: Outcome, now: float) -> bool:
        if outcome in _NEUTRAL:
            monitor.state = State.EJECTED  # its time is over, so the next call probes it
            return False
        if outcome is Outcome.FAILED:
            monitor.eject(self._rules, now, self._rng)
            return True
        monitor.admit(now)
        del self._ejected[instance]
        self.panicking = False
        self._update_avoided()
        return False

    def _count(self, instance: str, monitor: InstanceMonitor, outcome: Outcome, now: float) -> bool:
        monitor.count(outcome, now)
        if outcome is Outcome.SUCCEEDED:
            if monitor.ejections:
                monitor.forget_ejection(self._rules, now)
            return False
        max_ejected = self.max_ejected
        if not max_ejected or not monitor.fails(self._rules):
            return False
        if len(self._ejected) >= max_ejected:
            self.panicking = True
            return False
        monitor.eject(self._rules, now, self._rng)
        self._ejected[instance] = monitor
        self._update_avoided()
        return True

    def _update_avoided(self) -> None:
        """Computed here and not in `avoided`: every call reads that, and it changes rarely."""
        self._avoided = frozenset(self._ejected.keys() | self._full)
