"""Reads and writes the parameters in path, query and headers: servers read them, clients write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from meshcore.codec.errors import DecodeError, EncodeError, TravelError
from meshcore.codec.text import from_text, reads_only_text, takes_lists, takes_single, to_text
from meshcore.core.description import REQUIRED, Method, Parameter, Source
from meshcore.core.errors import ConfigurationError

_VALUE = re.compile(r"(?:, got |(?<= value) | ['\"]).*$", re.DOTALL)
"""The part of a reason that may quote the value."""


class TextParameter:
    """One parameter as text. The value of a header is in no message: it may be a token.

    Attributes:
        name: on the wire.
        label: how messages call it.
        required: whether a request must name it.

    A query says "null" and "empty list" by leaving the name out, and a name that is left out also stands for the
    parameter's default. So what cannot be told apart from the default is not written but refused. `name=` stands for
    null too, where the empty text is no value of the type: aspyx-service writes None so.
    """

    def __init__(self, method: Method, parameter: Parameter) -> None:
        """Prepare the conversion.

        Raises:
            ConfigurationError: values of its type have no form as text.
        """
        source = parameter.source.value if parameter.source else "query"
        self.name = parameter.wire_name
        self.label = f"{source} parameter {self.name!r}"
        self._is_header = parameter.source is Source.HEADER
        self._home = "a header" if self._is_header else "a URL"
        try:
            self._read = from_text(parameter.type)
        except TravelError as error:
            text = f"{method}({parameter.name}): {error}"
            raise ConfigurationError(f"{method} cannot be called over REST", [text]) from error
        self._lists = takes_lists(parameter.type)
        self._single = takes_single(parameter.type)
        self._only_text = reads_only_text(parameter.type)
        self._nullable = _accepts_none(parameter.type)
        self._empty_is_null = self._nullable and not self._takes("")
        self._absent = self._value_of_absence(parameter)
        self._parameter = parameter
        self._is_empty = parameter.required and self._absent is not REQUIRED and self._absent is not None
        self._absent_text = _text_or_nothing(self._absent)
        self.required = self._absent is REQUIRED

    def read(self, texts: Sequence[str] | None) -> Any:
        """The value of a parameter that a request names any number of times; None if it does not name it.

        Raises:
            DecodeError: it is no value of the type, or is missing.
        """
        if texts is None:
            if self._absent is REQUIRED:
                raise DecodeError("$", "is missing")
            # Anew each time: who gets a list may change it.
            if not self._parameter.required:
                return self._parameter.fresh_default()
            return self._read([]) if self._is_empty else None
        if self._empty_is_null and len(texts) == 1 and not texts[0]:
            return None
        return self._read(list(texts))

    def write(self, value: Any) -> tuple[str, ...]:
        """The texts that express a value; none if the parameter is left out instead.

        Raises:
            EncodeError: it cannot be said.
        """
        text = to_text(value)
        if text is None or text == []:
            if text == self._absent_text:
                return ()
            if text is None and self._empty_is_null:
                return ("",)
            raise EncodeError(
                "$", f"{value!r} has no form in {self._home}, since leaving it out means {self._meaning()}"
            )
        parts: list[Any] = [value] if isinstance(text, str) else list(value)
        if self._only_text and not all(isinstance(part, str) for part in parts):
            shown = "a value" if self._is_header else repr(value)
            raise EncodeError("$", f"{shown} has no form in {self._home}: its type is Any, so it is read as a text")
        if isinstance(text, str):
            return (text,)
        if len(text) == 1 and self._single:
            shown = "a value" if self._is_header else repr(value)
            raise EncodeError("$", f"{shown} has no form in {self._home}: a list of one is read as a single value")
        return tuple(text)

    def read_header(self, values: Sequence[str]) -> Any:
        """The value that the headers of that name give. A list is divided by commas (RFC 9110, 5.6.1).

        Raises:
            DecodeError: it is no value of the type, or is missing.
        """
        items: Sequence[str] = values
        if self._lists:
            items = [item for value in values for part in value.split(",") if (item := part.strip())]
        try:
            return self.read(items or None)
        except DecodeError as error:
            counted = len(items) > 1 and not self._lists
            raise DecodeError(error.path, error.reason if counted else _VALUE.sub("", error.reason)) from None

    def write_header(self, value: Any) -> str | None:
        """The value of a header, None for no such header.

        Raises:
            EncodeError: it cannot be said.
        """
        texts = self.write(value)
        for text in texts:
            if not (text.isascii() and text.isprintable()) or text != text.strip():
                raise EncodeError("$", "the value has no form in a header: printable ASCII only, no space around it")
            if self._lists and ("," in text or not text):
                raise EncodeError("$", "the value cannot be in a list in a header: it is empty, or contains a comma")
        return ", ".join(texts) if texts else None

    def _value_of_absence(self, parameter: Parameter) -> Any:
        if not parameter.required:
            return parameter.default
        if self._nullable:
            return None
        try:
            return self._read([])
        except DecodeError:
            return REQUIRED

    def _meaning(self) -> str:
        return "nothing" if self._absent is REQUIRED else repr(self._absent)

    def _takes(self, text: str) -> bool:
        try:
            self._read([text])
        except DecodeError:
            return False
        return True


def _accepts_none(type_: Any) -> bool:
    try:
        msgspec.convert(None, type_)
    except msgspec.ValidationError:
        return False
    return True


def _text_or_nothing(value: Any) -> object:
    """What a value is as text; something that equals no text if it has none."""
    try:
        return to_text(value)
    except EncodeError:
        return REQUIRED
