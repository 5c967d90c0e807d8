"""The errors that callers see: a closed set of codes, and a class for each kind of failure."""

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
    """An argument is not valid, whatever the state of the server."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    """The deadline of the call has passed."""
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
    """The server does not offer this method or path."""
    INTERNAL = "internal"
    """The server failed. The caller is not told why."""
    UNAVAILABLE = "unavailable"
    """No instance could be reached, or no response came. A retry, or another instance, may succeed."""
    DATA_LOSS = "data_loss"
    """Data are lost or damaged."""
    UNAUTHENTICATED = "unauthenticated"
    """The caller's credentials are missing or not valid."""

    @property
    def http_status(self) -> int:
        """The HTTP status of this code (the table of the Connect protocol)."""
        return _HTTP_STATUS[self]

    @property
    def retryable(self) -> bool:
        """Whether a retry may succeed. An error with this code may say otherwise."""
        return self in _RETRYABLE

    @classmethod
    def from_http_status(cls, status: int) -> Code:
        """The code for a response that carries none (the table of the Connect protocol)."""
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
_TRANSIENT = _RETRYABLE | {Code.DEADLINE_EXCEEDED}
"""The cause is not the call itself: later, or at another instance, the same call may succeed."""


class MeshError(Exception):
    """The base of all errors of the mesh. The subclass says who failed.

    Attributes:
        code: the kind of failure.
        message: a text for people. It never contains internals of the server.
        details: facts for programs, as plain data.
        retryable: whether the same call may succeed if it is sent again, perhaps to another instance.
        processed: whether an implementation may have begun to execute the call. A call is sent again only if it was
            certainly not processed, or if its method is idempotent.
        retry_after: seconds to wait before the call is sent to that server again (gRPC's pushback), None if the server
            gives none.
        instance: the id of the instance that was asked, None if none was.
        attempts: the attempts that were made: instance, channel, duration and outcome of each.
        from_local_call: whether a call within this process has ended with this error.
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
        self.from_local_call = False

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
    """No instance could be reached, the response did not arrive, or it could not be decoded."""


class RemoteError(MeshError):
    """The server responded with an error."""


class AuthorizationError(MeshError):
    """The caller is not known (UNAUTHENTICATED) or not allowed (PERMISSION_DENIED)."""


class ConfigurationError(LocalError):
    """The declarations or settings cannot work. Carries every problem that was found, not only the first.

    Attributes:
        problems: one text per problem; each names the place.
    """

    def __init__(self, title: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        lines = [f"{title}: {self.problems[0]}"] if len(self.problems) == 1 else [f"{title}:"]
        if len(self.problems) > 1:
            lines += [f"  {number}. {problem}" for number, problem in enumerate(self.problems, start=1)]
        super().__init__(Code.FAILED_PRECONDITION, "\n".join(lines))


class ImplementationError(Exception):
    """Hides from the caller an error that does not concern it, such as that of a call which the implementation made.

    The hidden error is its cause. Sent on as it is, it would seem to be about the caller's own request: a credential
    that another server refused would seem to be the caller's (Google's API design guide, "Error propagation").
    """

    @property
    def code(self) -> Code:
        """The code that the caller gets: that of the cause if a retry may succeed, else INTERNAL."""
        cause = self.__cause__
        if not isinstance(cause, MeshError) or isinstance(cause, LocalError):
            return Code.INTERNAL
        return cause.code if cause.code in _TRANSIENT else Code.INTERNAL


def is_from_a_call(error: MeshError) -> bool:
    """Whether the error ended a call that this process made. Otherwise code in this process raised it itself."""
    return error.from_local_call or isinstance(error, LocalError | CommunicationError) or bool(error.attempts)
