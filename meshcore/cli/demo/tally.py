"""Counts which server answered each call of the demo: an interceptor that reads the attempts of a call."""

from __future__ import annotations

from collections import Counter
from typing import Any

from meshcore.core.attempt import Attempt
from meshcore.core.call import Call, Handler, Interceptors
from meshcore.declare.injection import create, injectable, module

_NOT_LOST = frozenset({"ok", "given up"})


@injectable()
class Tally:
    """Counts calls by the server that answered, and attempts that were lost."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str]] = Counter()  # by channel and identity
        self.lost: Counter[str] = Counter()  # by channel

    async def count(self, handler: Handler, call: Call) -> Any:
        """Count one call. This is the interceptor."""
        try:
            answer = await handler(call)
        finally:
            self.lost.update(each.channel for each in call.trail if each.outcome not in _NOT_LOST)
        # A hedged call may have two answers at the same moment. The first one counts.
        answers = [each for each in call.trail if each.outcome == "ok"]
        if answers:
            first = min(answers, key=_ended)
            self.answered[first.channel, identity_of(first.instance)] += 1
        return answer


def identity_of(instance: str) -> str:
    """Return the last part of an instance id, which all instances of one process share."""
    return instance.rpartition("-")[2]


def _ended(attempt: Attempt) -> float:
    return attempt.began + (attempt.seconds or 0.0)


@module()
class TallyModule:
    """Adds the tally to the interceptors of a client."""

    @create()
    def interceptors(self, tally: Tally) -> Interceptors:
        """Provide the interceptors of the mesh."""
        return Interceptors(client=[tally.count])
