"""The errors of the codec. Their texts have one form: `$.items[2].price: expected float, got str`.

msgspec and pydantic have texts of their own, and also fail with general exceptions (`UnicodeDecodeError`,
`RecursionError`, `TypeError` for an unhashable element). All become a path and a reason, on one line and of limited
length: a reason may quote the body, and the body may be hostile.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import msgspec

from meshcore.codec.depth import LimitError, NestingError
from meshcore.codec.duplicate_keys import DuplicateKeyError

log = logging.getLogger(__name__)

NOT_UTF8 = "a text is not UTF-8"
"""Replaces the libraries' texts, which do not say either which text it is."""

_LONGEST_REASON = 300
_MALFORMED = re.compile(r"^\w+(?: data)? is malformed: (.*) \(byte (\d+)\)$", re.DOTALL)
_FORMATS = {"json": "JSON", "msgpack": "msgpack"}


class _LocatedError(ValueError):
    """An error at a place within a value.

    Attributes:
        path: The place in msgspec's notation: `$` is the whole value, `$.items[2].price` a part. Empty if there is no
            value: the body is malformed or too deep.
        reason: What is wrong, on one line, beginning in lower case.
    """

    def __init__(self, path: str, reason: str) -> None:
        """Keep the place and the reason."""
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        """`path: reason`."""
        return f"{self.path}: {self.reason}" if self.path else self.reason


class DecodeError(_LocatedError):
    """A body is no value of its type. A decoder raises no other exception, whatever the bytes."""


class EncodeError(_LocatedError):
    """A value does not fit its declared type, or cannot be encoded. An encoder raises no other exception."""


class TravelError(TypeError):
    """A type cannot be sent. The text says which part of it, and why."""


class ModelError(ValueError):
    """A pydantic model refused decoded data.

    Attributes:
        path: The place within the model, without `$`: `.lines[0].amount`.
        reason: pydantic's message.
    """

    def __init__(self, path: str, reason: str) -> None:
        """Keep the place and the reason."""
        super().__init__(reason)
        self.path = path
        self.reason = reason


def decode_error(error: Exception, codec: str, max_depth: int = 128) -> DecodeError:
    """The `DecodeError` for any exception of a decoder.

    Args:
        error: The exception.
        codec: The codec's name, for the text.
        max_depth: The limit of the depth, for the text.
    """
    match error:
        case ModelError() | DuplicateKeyError():
            return DecodeError(f"${error.path}", sentence(error.reason))
        case msgspec.ValidationError() if not isinstance(error.__cause__, LimitError):
            path, reason = split(str(error))
            if isinstance(error.__cause__, ModelError):
                path += error.__cause__.path
            return DecodeError(path, reason)
        case LimitError() | RecursionError() | msgspec.ValidationError():
            limit = next((each for each in (error, error.__cause__) if isinstance(each, LimitError)), None)
            # The decoder's own limit of the depth is higher than ours.
            return DecodeError("", str(limit or NestingError(max_depth)))
        case UnicodeDecodeError():  # of msgspec before 0.23; its position counts within one string
            return DecodeError("", f"malformed {_FORMATS[codec]}: {NOT_UTF8}")
        case msgspec.DecodeError():
            return DecodeError("", _malformed(str(error), _FORMATS[codec]))
        case _:
            return DecodeError("$", _reason(error))


def encode_error(error: Exception, path: str) -> EncodeError:
    """The `EncodeError` for any exception of an encoder.

    Args:
        error: The exception.
        path: The place in the value.
    """
    match error:
        case EncodeError():
            return error
        case RecursionError():
            return EncodeError(path, "nested too deep, or contains itself")
        case _:
            return EncodeError(path, sentence(str(error)) or type(error).__name__)


def split(text: str) -> tuple[str, str]:
    """The path and the reason in a message of msgspec: ``Expected `int`, got `str` - at `$.a` ``.

    Splits from the right: the path is at the end, and the reason may quote the body.
    """
    reason, found, place = text.rpartition(" - at `")
    if not found:
        return "$", sentence(text)
    place = place.removesuffix("`")
    if place.startswith("key` in `"):
        return place.removeprefix("key` in `"), "key: " + sentence(reason)
    return place, sentence(reason)


def sentence(text: str) -> str:
    """A reason on one line, of limited length, without backticks, beginning in lower case (but EOF, UUID)."""
    line = " ".join(text[: 2 * _LONGEST_REASON].split()).replace("`", "")
    if len(line) > _LONGEST_REASON:
        line = line[:_LONGEST_REASON] + "..."
    return line if line[1:2].isupper() else line[:1].lower() + line[1:]


def encodable(text: str) -> str:
    """The text, in which lone surrogates, which UTF-8 cannot encode, are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def steps(location: Sequence[str | int]) -> str:
    """A pydantic `loc` in msgspec's notation: `("lines", 0)` becomes `.lines[0]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)


def _reason(error: Exception) -> str:
    """The reason for an exception that the user's own code raised."""
    name = type(error).__name__
    if isinstance(error, ValueError | TypeError | AssertionError):  # validators raise these for the caller to read
        return sentence(str(error)) or name
    # A bug in that code: its text goes to the log and not to the sender of the body.
    log.warning("a value could not be read: code of its type raised %s", name, exc_info=error)
    return f"cannot be read ({name})"


def _malformed(text: str, language: str) -> str:
    """`malformed JSON at byte 12: invalid character`."""
    if "UTF-8" in text:
        return f"malformed {language}: {NOT_UTF8}"
    if found := _MALFORMED.match(text):
        return f"malformed {language} at byte {found[2]}: {sentence(found[1])}"
    return f"malformed {language}: {sentence(text)}"
