"""The texts that tests prove the code to say, gathered from their tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from meshcore import Code
from tests.integration import test_bad_input
from tests.support.reference.error_cases import CASES
from tests.support.reference.starts import OF_SETTINGS, STARTS
from tests.unit.core import test_policy, test_settings
from tests.unit.declare import test_decorators, test_problems

_ANSWER = re.compile(r"(?P<status>\d{3}) (?P<code>\w+): (?P<text>.*)", re.DOTALL)
_RAISED = re.compile(r"(?P<family>\w+Error) ((?P<code>[a-z_]+): )?(?P<text>.*)", re.DOTALL)
_PRINTED = re.compile(r"exit (?P<status>\d): meshcore: ((?P<code>[a-z_]+): )?(?P<text>.*)", re.DOTALL)
_TITLE = re.compile(r"^\w+ cannot (start|be called): ")


class Said(NamedTuple):
    """A text that a test proves.

    Attributes:
        family: the class of the error that a caller catches, empty where it is not said.
        code: its code, empty where it is not said.
        status: of an answer over HTTP, 0 where it is not said.
    """

    text: str
    family: str = ""
    code: str = ""
    status: int = 0


def of_the_start() -> tuple[Said, ...]:
    """What keeps a mesh from starting: mistakes in declarations and in how things fit together."""
    tables = [
        *([cls.__name__ + text for text in texts] for cls, texts in test_problems.INTERFACES),
        *(texts for _, texts in test_problems.MESHES.values()),
        *(texts for _, _, texts in test_problems.PATHS.values()),
        [start.text for start in STARTS],
        [text for _, text in test_decorators.WRONG],
        [f"@{decorator.__name__} on Plain.method: {text}" for decorator, text in test_decorators.NEEDED],
        test_decorators.TOLD_OF_THE_IMPLEMENTATION,
        test_decorators.TOLD_OF_CLASSES,
        test_decorators.TOLD_OF_CHECKS,
        test_decorators.NO_MODULES,
        [text for _, text in test_decorators.NO_ARGUMENTS],
    ]
    return tuple(Said(text) for texts in tables for text in texts)


def of_settings() -> tuple[Said, ...]:
    """What is said of settings and policies that do not fit."""
    settings = [given[-1] for given in _parameters(test_settings.test_what_does_not_fit)]
    policies = [given[-1] for given in _parameters(test_policy.test_what_does_not_fit)]
    return tuple(Said(text) for text in (*settings, *policies, *(start.text for start in OF_SETTINGS)))


def of_calls() -> tuple[Said, ...]:
    """What callers see."""
    return (*_bad_input(), *(Said(case.text, *case.kind.split()) for case in CASES))


def statuses() -> list[tuple[int, str]]:
    """Statuses of answers that are not those of their codes, with the codes."""
    found = {(each.status, each.code) for each in of_calls() if each.status}
    return sorted((status, code) for status, code in found if Code(code).http_status != status)


def _parameters(test: Any) -> list[Any]:
    """What a test is given, one after the other."""
    (mark,) = [mark for mark in test.pytestmark if mark.name == "parametrize"]
    return list(mark.args[1])


def _bad_input() -> Iterator[Said]:
    for row in test_bad_input.TABLE:
        text = row.text.partition(" | log: ")[0]
        if found := _ANSWER.fullmatch(text):
            yield Said(found["text"], "", found["code"], int(found["status"]))
        elif (found := _RAISED.fullmatch(text)) or (found := _PRINTED.fullmatch(text)):
            family = found.groupdict().get("family") or ""
            yield Said(_TITLE.sub("", found["text"]), family, found["code"] or "")
        elif not text.startswith("200 "):
            yield Said(text)
