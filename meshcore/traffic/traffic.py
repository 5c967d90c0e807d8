"""The state that all calls of a mesh to one component share: ejection, retry budget, latencies."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache, partial

from meshcore.core.attempt import Attempt
from meshcore.core.description import Method
from meshcore.core.policy import Rules
from meshcore.traffic.budget import Budget
from meshcore.traffic.ejection import Ejection
from meshcore.traffic.outcome import Outcome
from meshcore.traffic.quantiles import Latency

log = logging.getLogger(__name__)

_HEDGE_RESERVE = 1.0
"""Hedges per second beyond `max_extra_load`: otherwise a caller of few calls could never hedge."""

MAX_SUSPECTS = 2
"""Instances that one call may stop. The second is needed: the first may have stopped for another reason."""

_MAX_BUDGETS = 64
"""Hedge budgets that are kept, one for each value of `max_extra_load`. There are few unless every call sets its own."""


class Traffic:
    """The state that all calls to one component share.

    Attributes:
        rules: the component's policy.
        clock: the monotonic time in seconds.
        rng: the random generator.
        ejection: the ejection of the component's instances.
        retries: the budget of retries. Hedges spend from it, too.
    """

    def __init__(self, component: str, rules: Rules, clock: Callable[[], float], rng: random.Random) -> None:
        self.rules = rules
        self.clock = clock
        self.rng = rng
        self.ejection = Ejection(rules, rng)
        self.retries = Budget(rules.retry_ratio, rules.retry_reserve)
        self._component = component
        self._budget = lru_cache(_MAX_BUDGETS)(partial(Budget, reserve=_HEDGE_RESERVE))
        self._latencies: dict[Method, Latency] = {}

    def latency(self, method: Method) -> Latency:
        """The latencies of a method."""
        latency = self._latencies.get(method)
        if latency is None:
            latency = self._latencies[method] = Latency()
        return latency

    def hedges(self, share: float) -> Budget:
        """The budget of hedges for a value of `max_extra_load`."""
        return self._budget(share)

    def update(self, instances: Collection[str]) -> None:
        """Take over a new set of instances."""
        self.ejection.update(instances)

    def suspects(self, trail: Sequence[Attempt]) -> tuple[str, ...]:
        """The instances that may have stopped because of a call: its connection was lost, or they answer nothing.

        A call that crashes or blocks each instance that gets it must not be sent to all of them. So a call with
        `MAX_SUSPECTS` of these is not sent to further instances. One that was broken before says nothing of the call.
        """
        now = self.clock()
        return tuple(dict.fromkeys(each.instance for each in trail if each.unanswered and self._stopped_by(each, now)))

    def _stopped_by(self, attempt: Attempt, now: float) -> bool:
        if attempt.seconds is not None:
            return not self.ejection.was_broken(attempt.instance, attempt.began)
        return self.ejection.stopped_since(attempt.instance, attempt.began, now)

    def end(self, instance: str, outcome: Outcome, now: float, *, probe: bool, answered: bool) -> None:
        """Record that an attempt has ended, and log an ejection that follows from it."""
        panicking = self.ejection.panicking
        if self.ejection.end(instance, outcome, now, probe=probe, answered=answered):
            self._log_ejection(instance, "fails", now)
        if self.ejection.panicking and not panicking:
            log.error(
                "%s: too many instances fail, so no further one is ejected; the cause may not be the instances",
                self._component,
            )

    def checked(self, instance: str, *, live: bool) -> None:
        """Record whether the server of an instance answered a check, and log an ejection that follows from it."""
        now = self.clock()
        if self.ejection.checked(instance, now, live=live):
            self._log_ejection(instance, "answers nothing", now)

    def _log_ejection(self, instance: str, reason: str, now: float) -> None:
        seconds = self.ejection[instance].until - now
        log.warning("%s: instance %s %s and is ejected for %.1f s", self._component, instance, reason, seconds)
