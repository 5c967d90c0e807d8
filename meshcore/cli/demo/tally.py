"""Counts who answered which call, for the demonstration: an interceptor that looks at the attempts of each call."""

from __future__ import annotations

from collections import Counter
from typing import Any

from meshcore.core.attempt import Attempt
from meshcore.core.call import Call, Handler, Interceptors
from meshcore.declare.injection import create, injectable, module

_NOT_LOST = frozenset({"ok", "given up"})


@injectable()
class Tally:
    """Counts calls by who answered them, and attempts that came to nothing."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str]] = Counter()  # by channel and identity
        self.lost: Counter[str] = Counter()  # by channel

    async def count(self, handler: Handler, call: Call) -> Any:
        """Count one call: the interceptor."""
        try:
            answer = await handler(call)
        finally:
            self.lost.update(each.channel for each in call.trail if each.outcome not in _NOT_LOST)
        # A call that was sent twice may be answered twice at the same moment: what counts is the first answer.
        answers = [each for each in call.trail if each.outcome == "ok"]
        if answers:
            first = min(answers, key=_ended)
            self.answered[first.channel, identity_of(first.instance)] += 1
        return answer


def identity_of(instance: str) -> str:
    """What the instances of one process have in common: their ids are their component's name, a dash, and this."""
    return instance.rpartition("-")[2]


def _ended(attempt: Attempt) -> float:
    return attempt.began + (attempt.seconds or 0.0)


@module()
class TallyModule:
    """Adds the tally to a mesh."""

    @create()
    def interceptors(self, tally: Tally) -> Interceptors:
        """The mesh calls through it."""
        return Interceptors(client=[tally.count])
