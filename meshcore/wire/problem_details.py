"""Errors over REST: problem details (RFC 9457), with the fields of a mesh error as extension members."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, cast

import msgspec

from meshcore.codec.codec import JSON, Limits
from meshcore.codec.errors import DecodeError, sentence
from meshcore.core.errors import Code
from meshcore.wire.errors import ErrorBody, ErrorCodec, restore_error

CONTENT_TYPE = "application/problem+json"

_CLIENT_CLOSED = 499
_RETRYABLE = frozenset({429, 502, 503, 504})
_TEXTS = ("detail", "message", "error_description", "error", "title")
"""Where servers that are no mesh put the reason: FastAPI, Spring, OAuth, many, RFC 9457 without a detail."""


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of an answer that is an error. What has its default is left out.

    Attributes:
        type: "about:blank": the status says what kind of problem it is, and `code` says it more exactly.
        title: the phrase of the HTTP status.
        status: the HTTP status.
        detail: the error's text.
        code: one of the sixteen codes.
        retryable: whether the same call may succeed if it is sent again.
        processed: whether an implementation may have begun with the call.
        exception: the name of a declared exception, empty for any other error.
        fields: of the declared exception, by name.
        details: facts for programs, plain data.
        retry_after: seconds after which the call may come back. The header of that name has whole seconds only.
    """

    type: str = ""
    title: str = ""
    status: int = 0
    detail: str = ""
    code: str = ""
    retryable: bool | None = None
    processed: bool | None = None
    exception: str = ""
    fields: msgspec.Raw = msgspec.Raw()
    details: dict[str, Any] = {}
    retry_after: float | None = None


_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(Problem).decode


def encode_problem(body: ErrorBody, status: int | None = None) -> tuple[int, bytes]:
    """Status and body of the answer for an error.

    Args:
        body: the error.
        status: if HTTP has a better one for it than its code.
    """
    status = status or Code(body.code).http_status
    problem = Problem(
        type="about:blank",
        title=status_phrase(status),
        status=status,
        detail=body.message,
        code=body.code,
        retryable=body.retryable,
        processed=body.processed,
        details=body.details,
        retry_after=body.retry_after,
    )
    if body.type:
        problem.exception, problem.fields = body.type, body.fields
    return status, _write(problem)


class ProblemReader:
    """Turns answers that are no success into errors; one per method."""

    def __init__(self, errors: ErrorCodec, limits: Limits) -> None:
        self._errors = errors
        self._plain = JSON.decoder(Any, limits)

    def read(self, status: int, data: bytes, who: str, retry_after: float | None = None) -> Exception:
        """The error that an answer stands for.

        Args:
            status: of HTTP.
            data: the body: a mesh's, another server's, a proxy's, or none.
            who: answered, for the text.
            retry_after: what the header says, in seconds.
        """
        plain = self._decoded(data)
        if isinstance(plain, dict) and "code" in plain:
            problem = _problem(data)
            if problem is not None and problem.processed is not None:  # only a mesh says that
                return self._errors.restore(_body_of(problem))
        reason = _reason(plain)
        text = f"{who} answered with HTTP status {status} ({status_phrase(status)}){': ' if reason else ''}{reason}"
        code = Code.from_http_status(status)
        return restore_error(
            code.value, text, {}, retryable=status in _RETRYABLE, processed=True, retry_after=retry_after
        )

    def _decoded(self, data: bytes) -> Any:
        """The body as JSON; else as text, if it is readable."""
        try:
            return self._plain(data)
        except DecodeError:
            text = " ".join(data[:1000].decode("utf-8", "replace").split())
            return None if "<" in text or not text.isprintable() else text


def _body_of(problem: Problem) -> ErrorBody:
    return ErrorBody(
        problem.code,
        problem.detail or problem.title,
        problem.exception,
        problem.fields,
        problem.details,
        retryable=bool(problem.retryable),
        processed=bool(problem.processed),
        retry_after=problem.retry_after,
    )


def _problem(data: bytes) -> Problem | None:
    try:
        return _read(data)
    except msgspec.DecodeError:
        return None  # somebody else's, with members of these names that mean something else


def _reason(plain: Any) -> str:
    """The readable part of an error answer of another kind of server."""
    if isinstance(plain, str):
        return sentence(plain)
    if not isinstance(plain, dict):
        return ""
    members = cast("dict[str, Any]", plain)
    for name in _TEXTS:
        match members.get(name):
            case str(text) if text:
                return sentence(text)
            case [_, *_] as entries:  # FastAPI: [{"loc": ["query", "limit"], "msg": "Input should be ..."}]
                return sentence("; ".join(map(_entry, entries)))
            case {"message": str(text)}:
                return sentence(text)
            case _:
                pass
    return ""


def _entry(entry: Any) -> str:
    match entry:
        case {"loc": [*place], "msg": str(text)}:
            return f"{'.'.join(map(str, place))}: {text}"
        case _:
            return str(entry)


def status_phrase(status: int) -> str:
    """The reason phrase of a status, also of one that RFC 9110 does not have."""
    if status == _CLIENT_CLOSED:  # nginx's, and the code CANCELED's
        return "Client Closed Request"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unassigned Status"
