"""Fills the pages of errors: codes, classes, and the catalogue of texts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache

from meshcore import Code, ConfigurationError, MeshError
from meshcore.core import errors as module
from meshcore.wire.errors import restore_error
from tests.support.reference.docs import attribute_docs, first_sentence, meaning
from tests.support.reference.evidence import Said, of_calls, of_settings, of_the_start
from tests.support.reference.markdown import cell, code, table


def errors() -> Callable[[str], str]:
    """Codes and classes."""
    parts = {
        "codes": _codes,
        "classes": _classes,
        "attributes": _attributes,
        "statuses without a code": _statuses_without_code,
    }
    return lambda place: parts[place]()


def texts() -> Callable[[str], str]:
    """Errors at the start; a place is a piece of a text."""
    return catalogue().text


def texts_and_kinds() -> Callable[[str], str]:
    """Errors of calls; a place is a piece of a text."""
    return catalogue().text_and_kind


class Catalogue:
    """The texts that tests prove, and which of them no page has.

    Attributes:
        left: those that nobody has asked for so far.
    """

    def __init__(self, proven: Iterable[Said]) -> None:
        self._proven = tuple(proven)
        self.left = dict.fromkeys(each.text for each in self._proven)

    def text(self, place: str) -> str:
        """The first text with that piece in it. Further pieces, after `&`, are of texts that it is an example for."""
        piece, *others = place.split(" & ")
        for other in others:
            self._find(other)
        return code(cell(self._find(piece)[0].text))

    def text_and_kind(self, place: str) -> str:
        """The same, and the class and code of its error as another cell of a table."""
        found = self._find(place.partition(" & ")[0])
        families = dict.fromkeys(each.family for each in found if each.family) or ["RemoteError"]
        codes = dict.fromkeys(each.code for each in found if each.code)
        kinds = [" or ".join(map(code, names)) for names in (families, codes)]
        return f"{self.text(place)} | {' '.join(kinds).strip()}"

    def _find(self, piece: str) -> list[Said]:
        found = [each for each in self._proven if piece in each.text]
        if not found:
            raise LookupError(f"no test proves an error with the text {piece!r}")
        for each in found:
            self.left.pop(each.text, None)
        return found


@cache
def catalogue() -> Catalogue:
    """All that tests prove."""
    return Catalogue([*of_the_start(), *of_settings(), *of_calls()])


def _codes() -> str:
    texts = attribute_docs(Code)
    rows = [
        (
            code(each.value),
            texts[each.name],
            str(each.http_status),
            code(type(restore_error(each.value, "", {}, retryable=False, processed=True)).__name__),
            "yes" if each.retryable else "no",
        )
        for each in Code
    ]
    return table(("code", "meaning", "HTTP status", "class", "retryable"), rows)


def _classes() -> str:
    classes = [cls for cls in vars(module).values() if inspect.isclass(cls) and issubclass(cls, MeshError)]
    return table(("class", "meaning"), [(code(cls.__name__), first_sentence(cls)) for cls in classes])


def _attributes() -> str:
    names = [name for name in vars(MeshError(Code.UNKNOWN, "")) if name != "passed"]
    rows = [(code(name), meaning(MeshError, name)) for name in names]
    rows.append((f"{code('problems')} of {code('ConfigurationError')}", meaning(ConfigurationError, "problems")))
    return table(("attribute", "meaning"), rows)


def _statuses_without_code() -> str:
    rows = [(str(status), code(Code.from_http_status(status).value)) for status in module._FROM_HTTP_STATUS]
    return table(("HTTP status", "code"), [*rows, ("any other", code(Code.from_http_status(0).value))])
