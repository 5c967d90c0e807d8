"""Ejects instances that fail (outlier ejection), and limits the calls in flight to each instance.

An ejected instance gets no calls for a while. Then one real call probes it; if that fails, the next ejection is longer.
Pure: time and randomness are arguments.

    admitted --failures--> ejected --time--> due --one call begins--> probed --success--> admitted
                              ^--------given up, refused----------------'  |
                              '-------------------failure-----------------'

An instance that hangs keeps each call until its deadline. So calls that cannot be repeated probe it only once its
server answers a check, and an instance that let a call wait and answered nothing else is checked, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable

from meshcore.core.policy import Rules
from meshcore.traffic.instance_monitor import InstanceMonitor, State
from meshcore.traffic.outcome import Outcome

_PROBE_GRACE = 1.0
"""Times the policy's `ejection`. For so long after its ejection, an instance is probed only by calls that can be
repeated elsewhere; then by any call."""

_NEUTRAL = frozenset({Outcome.IGNORABLE, Outcome.REFUSED})
"""Outcomes that are neither a success nor a failure of the instance."""

_ANSWERS = frozenset({Outcome.SUCCEEDED, Outcome.REFUSED})


class Ejection:
    """The ejection of the instances of one component.

    Attributes:
        avoided: ids of the instances that get no calls: ejected, being probed, or full.
        panicking: as many instances are ejected as may be, and another one fails. The cause may then lie elsewhere.
        count: how often an instance was ejected.
        check: asks the server of an instance whether it answers, and calls `checked`; None if nothing can.
    """

    def __init__(self, rules: Rules, rng: random.Random) -> None:
        self._rules = rules
        self._rng = rng
        self._monitors: dict[str, InstanceMonitor] = {}
        self._ejected: dict[str, InstanceMonitor] = {}  # ejected or probed
        self._full: set[str] = set()
        self._concurrency = rules.concurrency
        self.avoided: frozenset[str] = frozenset()
        self.panicking = False
        self.count = 0
        self.check: Callable[[str], None] | None = None

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
        return any(instance not in asked and instance not in self.avoided for instance in self._monitors)

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
                if now < monitor.until + grace:
                    continue
                if repeatable or monitor.live or self.check is None:
                    return instance
                self.check(instance)
        return None

    def doubt(self, instance: str, began: float) -> None:
        """Check an instance at which a call, sent at `began`, waited in vain, unless it has answered others since."""
        monitor = self._monitors.get(instance)
        silent = monitor is not None and monitor.state is State.ADMITTED and monitor.answered < began
        if silent and self.check is not None and self.max_ejected:
            self.check(instance)

    def checked(self, instance: str, now: float, *, live: bool) -> bool:
        """Record whether the server of an instance answered a check.

        Returns:
            Whether this ejected the instance.
        """
        monitor = self._monitors.get(instance)
        if monitor is None or monitor.state is State.PROBED:
            return False
        if live:
            monitor.live = True
            return False
        if monitor.state is State.ADMITTED and len(self._ejected) >= self.max_ejected:
            return False
        self._eject(instance, monitor, now)
        return True

    def _eject(self, instance: str, monitor: InstanceMonitor, now: float) -> None:
        monitor.eject(self._rules, now, self._rng)
        self.count += 1
        self._ejected[instance] = monitor
        self._update_avoided()

    def begin(self, instance: str) -> bool:
        """Record that a call is sent to an instance.

        Returns:
            Whether the call is a probe, as the instance is ejected.
        """
        monitor = self._monitors.get(instance)
        if monitor is None:
            return False
        monitor.pending += 1
        monitor.asked += 1
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
        if monitor is not None:
            monitor.hang(began, now)

    def stopped_since(self, instance: str, began: float, now: float) -> bool:
        """Whether an instance may have stopped answering because of a call that was sent to it at `began`."""
        monitor = self._monitors.get(instance)
        return monitor is None or monitor.stopped_since(began, now)  # None: it has left

    def was_broken(self, instance: str, began: float) -> bool:
        """Whether an instance lost calls before one that was sent to it at `began`, and has answered none since."""
        monitor = self._monitors.get(instance)
        return monitor is not None and monitor.broken < began

    def succeed(self, instance: str, now: float) -> bool:
        """Record that an instance which is neither ejected nor full has answered a call, unless it was ejected lately.

        Most calls end so. `end` does the same, but takes 0.3 us more.

        Returns:
            Whether that was recorded; if not, `end` must be called.
        """
        monitor = self._monitors.get(instance)
        if monitor is None or instance in self.avoided or monitor.ejections or not monitor.pending:
            return False
        monitor.pending -= 1
        monitor.succeed(now)
        return True

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
            monitor.answer(now)
        elif outcome is Outcome.FAILED:
            monitor.broken = min(monitor.broken, now)
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
            monitor.postpone(self._rules, now, self._rng)
            return False
        if outcome is Outcome.FAILED:
            monitor.eject(self._rules, now, self._rng)
            self.count += 1
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
        self._eject(instance, monitor, now)
        return True

    def _update_avoided(self) -> None:
        """Computed here and not when it is read: every call reads it, and it changes rarely."""
        self.avoided = frozenset(self._ejected.keys() | self._full)
