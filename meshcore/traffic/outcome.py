"""What came of an attempt, as the state machines of the data plane see it."""

from __future__ import annotations

from enum import Enum

from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError, MeshError


class Outcome(Enum):
    """What an attempt says about the instance that was asked."""

    SUCCEEDED = "succeeded"
    """It works; so does one that answers with an exception that its interface declares, or with a client's mistake."""

    REFUSED = "refused"
    """It works, but has too much to do. It looks slow, so that others are asked, but it is not ejected for that: with
    half of an overloaded fleet away, the other half would do no better."""

    FAILED = "failed"
    """It does not do its work, or cannot be reached."""

    IGNORABLE = "ignorable"
    """Nothing can be told: the attempt was given up before it ended."""


_FAILURES = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS})


def outcome_of(error: BaseException, method: Method) -> Outcome:
    """What an attempt at a method that ended with an error says about its instance.

    An exception that is neither the mesh's nor declared is the channel's own, at a loss with what this instance is
    announced as: taken for an answer it would attract all calls, as no real answer comes as fast.
    """
    if isinstance(error, MeshError):
        if isinstance(error, LocalError):
            return Outcome.IGNORABLE
        if error.code is Code.RESOURCE_EXHAUSTED:
            return Outcome.REFUSED
        return Outcome.FAILED if error.code in _FAILURES else Outcome.SUCCEEDED
    if not isinstance(error, Exception):  # cancelled, mostly
        return Outcome.IGNORABLE
    return Outcome.SUCCEEDED if isinstance(error, method.raises) else Outcome.FAILED
