"""Classifies the outcome of an attempt for load balancing and ejection."""

from __future__ import annotations

from enum import Enum

from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError, MeshError


class Outcome(Enum):
    """What an attempt says about the instance that was asked."""

    SUCCEEDED = "succeeded"
    """The instance works. Declared exceptions and errors of the caller count as success, too."""

    REFUSED = "refused"
    """The instance works, but is overloaded. It counts as slow, so that others get its calls, but it is not ejected:
    with half of an overloaded fleet ejected, the other half would be worse off."""

    FAILED = "failed"
    """The instance fails, or cannot be reached."""

    IGNORABLE = "ignorable"
    """Unknown: the attempt was given up before it ended."""


_FAILURES = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS})


def outcome_of(error: BaseException, method: Method) -> Outcome:
    """The outcome of an attempt that ended with an error.

    An exception that is neither a `MeshError` nor declared comes from a channel that cannot work with this instance. It
    is a failure: counted as a success, this instance would be the fastest of all and attract every call.
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
