"""Every error that a caller can see: a closed set of codes, and classes that say who failed."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshcore.core.attempt import Attempt


class Code(Enum):
    """The sixteen codes of gRPC and Connect; the value is Connect's spelling, which travels on the wire."""

    CANCELED = "canceled"
    """The caller has given up or left."""
    UNKNOWN = "unknown"
    """An error without a code of its own, such as one that is only a text."""
    INVALID_ARGUMENT = "invalid_argument"
    """An argument does not fit, whatever the state of the server."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    """The time for the call was up."""
    NOT_FOUND = "not_found"
    """What the call is about does not exist."""
    ALREADY_EXISTS = "already_exists"
    """What the call would create exists already."""
    PERMISSION_DENIED = "permission_denied"
    """The caller is known, and may not do this."""
    RESOURCE_EXHAUSTED = "resource_exhausted"
    """A limit is reached: too many calls at once, a quota, or a size."""
    FAILED_PRECONDITION = "failed_precondition"
    """The call does not fit the state of what it is about. Declared exceptions have this code by default."""
    ABORTED = "aborted"
    """The call was in conflict with another, such as a concurrent change."""
    OUT_OF_RANGE = "out_of_range"
    """A position is beyond the end, such as of a page."""
    UNIMPLEMENTED = "unimplemented"
    """Nobody offers this method or path there."""
    INTERNAL = "internal"
    """Something is wrong on the server. The caller is not told what."""
    UNAVAILABLE = "unavailable"
    """Nobody could be asked, or no answer came. Another try, or another instance, may succeed."""
    DATA_LOSS = "data_loss"
    """Data are lost or damaged."""
    UNAUTHENTICATED = "unauthenticated"
    """The caller is not known: its credentials are missing or not valid."""

    @property
    def http_status(self) -> int:
        """The HTTP status of this code (the table of the Connect protocol)."""
        return _HTTP_STATUS[self]

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed if it is sent again, unless an error with this code says otherwise."""
        return self in _RETRYABLE

    @classmethod
    def from_http_status(cls, status: int) -> Code:
        """The code for an answer that carries no code of its own (the table of the Connect protocol)."""
        return _FROM_HTTP_STATUS.get(status, cls.UNKNOWN)


_HTTP_STATUS = {
    Code.CANCELED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

_FROM_HTTP_STATUS = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}

_RETRYABLE = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED})
_OF_THE_MOMENT = _RETRYABLE | {Code.DEADLINE_EXCEEDED}
"""These say nothing of the call itself: at another time, or from another instance, it may go well."""


class MeshError(Exception):
    """The base of all errors of the mesh; catch a subclass to know who failed.

    Attributes:
        code: what kind of failure it is.
        message: one text for people; it never contains the server's internals.
        details: facts for programs, plain data.
        retryable: whether the same call may succeed if it is sent again (to another instance).
        processed: whether an implementation may have begun with the call. Only a call that was certainly not
            processed, or whose method is idempotent, is ever sent again.
        retry_after: seconds after which the call may come back to that server (gRPC's push-back), None if it says none.
        instance: the id of the instance that was asked, if one was.
        attempts: what was tried before a caller was told: instances, channels, durations and what came of each.
        passed: whether it has come out of a call within this process.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        processed: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details: Mapping[str, Any] = details or {}
        self.retryable = code.retryable if retryable is None else retryable
        self.processed = processed
        self.retry_after = retry_after
        self.instance: str | None = None
        self.attempts: tuple[Attempt, ...] = ()
        self.passed = False

    def __str__(self) -> str:
        return f"{self.code.value}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments do not survive Exception's own __reduce__; errors cross process pools.
        return _restore, (type(self), self.__dict__, self.args)


def _restore(cls: type[MeshError], state: dict[str, Any], args: tuple[Any, ...]) -> MeshError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class LocalError(MeshError):
    """The call never left this process: a mistake of the caller, or a mesh that is not running."""

    def __init__(self, code: Code, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(code, message, details=details, retryable=False, processed=False)


class CommunicationError(MeshError):
    """Nobody could be asked, or the answer did not arrive, or it could not be understood."""


class RemoteError(MeshError):
    """The server answered, with an error."""


class AuthorizationError(MeshError):
    """The caller is not known (UNAUTHENTICATED) or not allowed (PERMISSION_DENIED)."""


def is_of_a_call(error: MeshError) -> bool:
    """Whether a call that this process made ended with it, rather than that who serves one here has raised it."""
    return error.passed or isinstance(error, LocalError | CommunicationError) or bool(error.attempts)


class ImplementationError(Exception):
    """Hides an error that is none of the caller's, such as that of a call which the implementation made itself.

    Its cause is what happened. Whoever gets it passed on would take it for one of this server: a credential that
    another server refused for one of his own, for instance (Google's API design guide, "Error propagation").
    """

    @property
    def code(self) -> Code:
        """What the caller may know: INTERNAL, unless it is that another try may go well."""
        cause = self.__cause__
        if not isinstance(cause, MeshError) or isinstance(cause, LocalError):
            return Code.INTERNAL
        return cause.code if cause.code in _OF_THE_MOMENT else Code.INTERNAL


class ConfigurationError(LocalError):
    """What was declared cannot work. Carries every problem that was found, not only the first.

    Attributes:
        problems: one text per problem; each names the place.
    """

    def __init__(self, title: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        lines = [f"{title}: {self.problems[0]}"] if len(self.problems) == 1 else [f"{title}:"]
        if len(self.problems) > 1:
            lines += [f"  {number}. {problem}" for number, problem in enumerate(self.problems, start=1)]
        super().__init__(Code.FAILED_PRECONDITION, "\n".join(lines))
