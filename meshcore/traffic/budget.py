"""A budget for retries: a share of the calls, so that retries can never multiply the load of a failing service.

Why a budget and not only a number of attempts: three attempts at each of three layers are 27 calls, and they come just
when there is too much load already. A budget grows with the calls that are made, and is spent by retries (Finagle's
`RetryBudget`: 20 % of the calls of the last ten seconds, and ten per second besides).
"""

from __future__ import annotations

_BUCKETS = 10


class Budget:
    """What may be spent, given what was deposited within the last `seconds`.

    Args:
        ratio: a deposit grants this much of a withdrawal.
        reserve: withdrawals per second that are granted without any deposit.
        seconds: how long a deposit, or a withdrawal, counts.
    """

    def __init__(self, ratio: float, reserve: float, seconds: float = 10.0) -> None:
        self._ratio = ratio
        self._reserve = reserve * seconds
        self._width = seconds / _BUCKETS
        self._balances = [0.0] * _BUCKETS  # deposits less withdrawals, by time
        self._sum = 0.0
        self._at = 0  # the number of the bucket that was used last, counted from the clock's zero

    def deposit(self, now: float) -> None:
        """A call was made."""
        at = int(now / self._width)
        if at != self._at:
            self._advance(at)
        self._balances[at % _BUCKETS] += self._ratio
        self._sum += self._ratio

    def withdraw(self, now: float) -> bool:
        """Spend one, if there is one."""
        at = int(now / self._width)
        if at != self._at:
            self._advance(at)
        if self._sum + self._reserve < 1.0:
            return False
        self._balances[at % _BUCKETS] -= 1.0
        self._sum -= 1.0
        return True

    def available(self, now: float) -> float:
        """How many could be spent."""
        self._advance(int(now / self._width))
        return self._sum + self._reserve

    def _advance(self, at: int) -> None:
        if at < self._at:  # a clock that goes back makes no budget
            return
        for each in range(max(self._at + 1, at - _BUCKETS + 1), at + 1):
            self._balances[each % _BUCKETS] = 0.0
        self._at = at
        # Summed anew, so that rounding does not add up over days.
        self._sum = sum(self._balances)
