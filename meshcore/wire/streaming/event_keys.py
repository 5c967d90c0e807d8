"""The ids of server-sent events, by which a browser that lost its connection goes on behind the last event."""

from __future__ import annotations

from typing import Any, Self

from meshcore.codec.errors import DecodeError
from meshcore.core.description import Method, Resumption, Source
from meshcore.core.errors import Code, LocalError
from meshcore.wire.headers import RequestHeaders
from meshcore.wire.rest_parameters import TextParameter
from meshcore.wire.streaming.event_stream import LAST_EVENT_ID, read_id, write_id


class EventKeys:
    """The ids of one method's items: the key that `@resumable` names, as the text of its parameter.

    Args:
        method: which.
        resumption: of it.
    """

    def __init__(self, method: Method, resumption: Resumption) -> None:
        self._method = method
        self._resumption = resumption
        self._text = TextParameter(method, method.parameters[resumption.at])

    @classmethod
    def of(cls, method: Method) -> Self | None:
        """Those of a method, None if its streams are not resumed by a parameter that has a form as text."""
        resumption = method.resumption
        if resumption is None or method.parameters[resumption.at].source is Source.BODY:
            return None
        return cls(method, resumption)

    def write(self, item: Any) -> str:
        """The id of an item.

        Raises:
            EncodeError: its key has no form as text.
            LookupError: it has no key.
        """
        texts = self._text.write(self._resumption.key_of(item))
        return write_id(texts[0]) if texts else ""

    def resumed(self, arguments: tuple[Any, ...], headers: RequestHeaders) -> tuple[Any, ...]:
        """The arguments of a request, those of a reader that comes back with the id of its last event.

        Raises:
            LocalError: INVALID_ARGUMENT, this is no such id.
        """
        last = headers.get(LAST_EVENT_ID)
        if not last:
            return arguments
        try:
            key = self._text.read([read_id(last)])
        except (ValueError, DecodeError) as error:
            reason = error.reason if isinstance(error, DecodeError) else "it is not UTF-8"
            text = f"{self._method}: header {LAST_EVENT_ID!r}: {reason}"
            raise LocalError(Code.INVALID_ARGUMENT, text) from error
        at = self._resumption.at
        return (*arguments[:at], key, *arguments[at + 1 :])
