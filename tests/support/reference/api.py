"""Fills the page of all public names."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tests.support.reference.docs import attribute_docs, first_sentence
from tests.support.reference.markdown import code, sentence, table


def api() -> Callable[[str], str]:
    """Every public name of the packages that places name, with its first sentence."""
    return lambda place: _names(importlib.import_module(place))


def _names(package: ModuleType) -> str:
    names: list[str] = sorted(package.__all__, key=str.lower)
    return table(("name", "kind", "meaning"), [_row(name, getattr(package, name)) for name in names])


def _row(name: str, value: Any) -> tuple[str, str, str]:
    if inspect.isclass(value):
        return code(name), "exception" if issubclass(value, BaseException) else "class", sentence(first_sentence(value))
    if inspect.isroutine(value):
        return code(name), "function", sentence(first_sentence(value))
    return code(name), "type", sentence(_of_alias(name, value))


def _of_alias(name: str, value: object) -> str:
    """The text below an alias, wherever it is defined."""
    modules = [each for each in sys.modules.values() if getattr(each, "__name__", "").startswith("meshcore.")]
    for module in modules:
        if getattr(module, name, None) is value and name in (found := attribute_docs(module)):
            return found[name]
    raise LookupError(f"{name} has no string below it that says what it is")
