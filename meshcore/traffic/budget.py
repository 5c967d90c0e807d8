"""A budget for retries and hedges: a share of the calls, so that they cannot multiply the load of a failing service.

A maximum of attempts is not enough: three attempts at each of three layers are 27 calls, at a time of too much load. A
budget grows with each call and shrinks with each retry. Follows Finagle's `RetryBudget`: 20 % of the calls of the last
ten seconds, plus ten per second.
"""

from __future__ import annotations

_BUCKETS = 10


class Budget:
    """A budget over a sliding window: each call deposits, each retry or hedge withdraws.

    Args:
        ratio: the part of a withdrawal that one deposit grants.
        reserve: withdrawals per second that are granted without deposits.
        seconds: the length of the window.

    Attributes:
        refused: withdrawals that were not granted.
    """

    def __init__(self, ratio: float, reserve: float, seconds: float = 10.0) -> None:
        self._ratio = ratio
        self.refused = 0
        self._reserve = reserve * seconds
        self._width = seconds / _BUCKETS
        self._balances = [0.0] * _BUCKETS  # deposits less withdrawals, by time
        self._sum = 0.0
        self._deposits = 0  # in the current bucket, and not in its balance yet: only counting them saves 0.05 us
        self._at = 0  # the number of the current bucket, counted from the clock's zero
        self._until = self._width  # when it ends

    def deposit(self, now: float) -> None:
        """Record a call."""
        if now >= self._until:  # to divide by the width takes 0.1 us, and each call has two deposits
            self._advance(int(now / self._width))
        self._deposits += 1

    def withdraw(self, now: float) -> bool:
        """Spend one retry or hedge. False if the budget is exhausted."""
        at = int(now / self._width)
        if at != self._at:
            self._advance(at)
        self._add_deposits()
        if self._sum + self._reserve < 1.0:
            self.refused += 1
            return False
        self._balances[at % _BUCKETS] -= 1.0
        self._sum -= 1.0
        return True

    def available(self, now: float) -> float:
        """How many withdrawals are granted now."""
        self._advance(int(now / self._width))
        self._add_deposits()
        return self._sum + self._reserve

    def _add_deposits(self) -> None:
        amount = self._deposits * self._ratio
        self._balances[self._at % _BUCKETS] += amount
        self._sum += amount
        self._deposits = 0

    def _advance(self, at: int) -> None:
        if at < self._at:  # the clock went back: keep the buckets
            return
        self._add_deposits()
        for each in range(max(self._at + 1, at - _BUCKETS + 1), at + 1):
            self._balances[each % _BUCKETS] = 0.0
        self._at = at
        self._until = (at + 1) * self._width
        # Computed anew, so that rounding errors do not add up over days.
        self._sum = sum(self._balances)
