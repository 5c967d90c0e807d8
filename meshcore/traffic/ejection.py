"""The instances of a component as this process has come to know them: which of them are not to be asked now.

An instance that fails is ejected for a while, then probed by one real call, and ejected for longer if that fails too.
Beside that, no instance gets more than so many calls at once. All of it is pure: time and chance are arguments.

    admitted --failures--> ejected --time--> due --one call begins--> probed --success--> admitted
                              ^                ^-----given up-----------'  |
                              '-------------------failure-----------------'
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from enum import Enum

from meshcore.core.policy import Rules
from meshcore.traffic.outcome import Outcome

_BUCKETS, _WIDTH = 10, 1.0
"""The window in which an instance's successes are counted, as Linkerd's: ten buckets of one second."""

_LEAST = 10
"""Calls in the window below which its success rate says nothing."""

_PATIENCE = 2.0
"""A probe should be a call that can be repeated elsewhere. After so many times the ejection any call will do."""


_NEUTRAL = frozenset({Outcome.IGNORABLE, Outcome.REFUSED})
"""What says nothing for or against an instance: it was not asked to the end, or has enough to do."""


class State(Enum):
    """Where an instance stands."""

    ADMITTED = "admitted"
    EJECTED = "ejected"
    PROBED = "probed"


class Peer:
    """One instance.

    Attributes:
        state: where it stands.
        pending: calls in flight.
        until: when it may be probed, if it is ejected.
        ejections: how often in a row it was ejected.
    """

    __slots__ = ("_at", "_bad", "_failures_in_row", "_good", "_healthy_since", "ejections", "pending", "state", "until")

    def __init__(self) -> None:
        self.state = State.ADMITTED
        self.pending = 0
        self.until = 0.0
        self.ejections = 0
        self._failures_in_row = 0
        self._healthy_since = 0.0
        self.forget()

    def forget(self) -> None:
        """Count from nothing."""
        self._good = [0] * _BUCKETS
        self._bad = [0] * _BUCKETS
        self._at = 0

    def count(self, outcome: Outcome, now: float) -> None:
        """Count an outcome that says something."""
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
        return calls >= _LEAST and calls - bad < rules.success_rate * calls

    def eject(self, rules: Rules, now: float, rng: random.Random) -> None:
        """Leave it alone for a while: twice as long as the last time, of which a random half is certain."""
        longest = min(rules.ejection * 2.0**self.ejections, rules.ejection_max)
        self.state = State.EJECTED
        self.until = now + longest * rng.uniform(0.5, 1.0)
        self.ejections += longest < rules.ejection_max  # beyond that it would only count
        self._failures_in_row = 0
        self.forget()

    def admit(self, now: float) -> None:
        """Take it back. Its next ejection is as long as if nothing had been, once it was healthy for a while."""
        self.state = State.ADMITTED
        self._healthy_since = now

    def settle(self, rules: Rules, now: float) -> None:
        """Forget old ejections, one for each time that it has been healthy as long as the longest of them."""
        if now - self._healthy_since >= rules.ejection * 2.0**self.ejections:
            self.ejections -= 1
            self._healthy_since = now


class Ejection:
    """All instances of a component.

    Attributes:
        panicking: so many instances fail that no further one is ejected: then it is not the instances.
    """

    def __init__(self, rules: Rules, rng: random.Random) -> None:
        self._rules = rules
        self._rng = rng
        self._peers: dict[str, Peer] = {}
        self._away: dict[str, Peer] = {}  # ejected or probed
        self._full: set[str] = set()
        self._concurrency = rules.concurrency
        self._avoided: frozenset[str] = frozenset()
        self.panicking = False

    def __getitem__(self, instance: str) -> Peer:
        return self._peers[instance]

    def update(self, instances: Collection[str]) -> None:
        """Take over a new snapshot; what is in both keeps its history."""
        for gone in self._peers.keys() - set(instances):
            del self._peers[gone]
            self._away.pop(gone, None)
            self._full.discard(gone)
        for instance in instances:
            if instance not in self._peers:
                self._peers[instance] = Peer()
        self.panicking = self.panicking and bool(self._away)
        self._changed()

    @property
    def avoided(self) -> frozenset[str]:
        """Ids of the instances that are not to be asked: ejected, being probed, or full."""
        return self._avoided

    @property
    def full(self) -> frozenset[str]:
        """Ids of the instances that have as many calls in hand as they may."""
        return frozenset(self._full)

    @property
    def room(self) -> int:
        """How many instances may be ejected at once. One of two always may."""
        share = self._rules.max_ejected
        if not share or len(self._peers) < 2:  # noqa: PLR2004 - the only one is better than none
            return 0
        return max(1, int(share * len(self._peers)))

    def others(self, asked: Collection[str]) -> bool:
        """Whether there is an instance to ask beside those."""
        return any(instance not in asked and instance not in self._avoided for instance in self._peers)

    def but(self, instance: str) -> tuple[str, ...]:
        """The ids of all other instances."""
        return tuple(each for each in self._peers if each != instance)

    def due(self, now: float, candidates: Iterable[str], *, repeatable: bool) -> str | None:
        """The instance that this call should probe, if there is one.

        Args:
            now: the time.
            candidates: ids of the instances that the call may go to.
            repeatable: whether the call can be sent elsewhere if the probe fails.
        """
        if not self._away:
            return None
        for instance in candidates:
            peer = self._away.get(instance)
            if peer is not None and peer.state is State.EJECTED:
                patience = 0.0 if repeatable else (_PATIENCE - 1.0) * self._rules.ejection
                if now >= peer.until + patience:
                    return instance
        return None

    def begin(self, instance: str) -> bool:
        """A call is sent to it.

        Returns:
            Whether the call is its probe, since it was ejected.
        """
        peer = self._peers.get(instance)
        if peer is None:
            return False
        peer.pending += 1
        if peer.pending >= self._concurrency:
            self._full.add(instance)
            self._changed()
        if peer.state is not State.EJECTED:
            return False
        peer.state = State.PROBED
        return True

    def end(self, instance: str, outcome: Outcome, now: float, *, probe: bool = False) -> bool:
        """A call has ended.

        Args:
            instance: where it was sent.
            outcome: what came of it.
            now: the time.
            probe: whether it was the probe: what was sent before the ejection says nothing new.

        Returns:
            Whether this ejected the instance.
        """
        peer = self._peers.get(instance)
        if peer is None:
            return False  # it is gone
        if peer.pending:  # else it left and came back meanwhile
            peer.pending -= 1
            if instance in self._full:
                self._full.discard(instance)
                self._changed()
        if probe and peer.state is State.PROBED:
            return self._end_of_probe(instance, peer, outcome, now)
        if peer.state is not State.ADMITTED or outcome in _NEUTRAL:
            return False
        return self._counted(instance, peer, outcome, now)

    def _end_of_probe(self, instance: str, peer: Peer, outcome: Outcome, now: float) -> bool:
        if outcome in _NEUTRAL:
            peer.state = State.EJECTED  # its time is over, so it is due again
            return False
        if outcome is Outcome.FAILED:
            peer.eject(self._rules, now, self._rng)
            return True
        peer.admit(now)
        del self._away[instance]
        self.panicking = False
        self._changed()
        return False

    def _counted(self, instance: str, peer: Peer, outcome: Outcome, now: float) -> bool:
        peer.count(outcome, now)
        if outcome is Outcome.SUCCEEDED:
            if peer.ejections:
                peer.settle(self._rules, now)
            return False
        room = self.room
        if not room or not peer.fails(self._rules):
            return False
        if len(self._away) >= room:
            self.panicking = True
            return False
        peer.eject(self._rules, now, self._rng)
        self._away[instance] = peer
        self._changed()
        return True

    def _changed(self) -> None:
        """Made here and not when it is asked for, since every call asks, and nearly always nothing has changed."""
        self._avoided = frozenset(self._away.keys() | self._full)
