"""What a mesh's calls to one component share: what is known of its instances, and what may be spent on retries."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection
from functools import lru_cache, partial

from meshcore.core.description import Method
from meshcore.core.policy import Rules
from meshcore.traffic.budget import Budget
from meshcore.traffic.ejection import Ejection
from meshcore.traffic.outcome import Outcome
from meshcore.traffic.quantiles import Latency

log = logging.getLogger(__name__)

_HEDGE_RESERVE = 1.0
"""Hedges per second beyond `max_extra_load`: a caller of few calls would never save up for one."""


_SHARES = 64
"""Shares that have a budget at the same time: policies are few, unless each call's is another."""


class Traffic:
    """The shared state of a component's calls.

    Attributes:
        rules: of the component, for what is shared.
        clock: the time of all its machines, monotonic seconds.
        rng: chance.
        ejection: its instances.
        retries: the budget of retries, and of hedges too: one for all layers.
    """

    def __init__(self, component: str, rules: Rules, clock: Callable[[], float], rng: random.Random) -> None:
        self.rules = rules
        self.clock = clock
        self.rng = rng
        self.ejection = Ejection(rules, rng)
        self.retries = Budget(rules.retry_ratio, rules.retry_reserve)
        self._component = component
        self._budget = lru_cache(_SHARES)(partial(Budget, reserve=_HEDGE_RESERVE))
        self._latencies: dict[Method, Latency] = {}

    def latency(self, method: Method) -> Latency:
        """How long calls of a method take."""
        latency = self._latencies.get(method)
        if latency is None:
            latency = self._latencies[method] = Latency()
        return latency

    def hedges(self, share: float) -> Budget:
        """The budget of hedges that come at the time that `max_extra_load` gives."""
        return self._budget(share)

    def update(self, instances: Collection[str]) -> None:
        """Take over who is there."""
        self.ejection.update(instances)

    def end(self, instance: str, outcome: Outcome, now: float, *, probe: bool) -> None:
        """An attempt has ended; say what that changes."""
        panicking = self.ejection.panicking
        if self.ejection.end(instance, outcome, now, probe=probe):
            seconds = self.ejection[instance].until - now
            log.warning("%s: %s fails and is left alone for %.1f s", self._component, instance, seconds)
        if self.ejection.panicking and not panicking:
            log.error(
                "%s: so many of its instances fail that no further one is ejected: it may not be the instances",
                self._component,
            )
