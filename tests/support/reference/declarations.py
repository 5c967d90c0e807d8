"""Fills the pages of decorators and markers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, get_args

import meshcore
from meshcore.declare.advice import Methods
from tests.support.reference.docs import (
    docstring,
    first_sentence,
    meaning,
    parameters,
    prose,
    signature,
    with_parentheses,
)
from tests.support.reference.markdown import code, paragraphs, sentence, table

VERBS: Final = ("get", "post", "put", "patch", "delete")
MARKERS: Final = ("Path", "Query", "Header", "Content")
ALIASES: Final = ("PathParam", "QueryParam", "HeaderParam", "Body")

_PLACES = {"C": "a class", "F": "a method", "Callable[P, R]": "a method"}


def declarations() -> Callable[[str], str]:
    """Interfaces, components, REST: places are names, or one of these."""
    tables = {"verbs": _verbs, "short markers": _short_markers, "markers": _markers}
    return lambda place: tables[place]() if place in tables else entry(place)


def injection() -> Callable[[str], str]:
    """Modules, the injector, advice and health: places are names, or conditions."""
    return lambda place: _conditions() if place == "conditions" else entry(place)


def entry(name: str) -> str:
    """A decorator, function or class."""
    target = attrgetter(name)(meshcore)
    if isinstance(target, type):
        return paragraphs(f"### {code(name)}", prose(target), _members(target))
    place = _place(target)
    title = f"@{name}" if place else name
    if _is_bare(target):
        return paragraphs(f"### {code(title)}", f"Decorates {place}.", prose(target))
    where = f"Decorates {place}." if place else ""
    return paragraphs(f"### {code(title + signature(target))}", where, prose(target), _parameters(target))


def _members(cls: type) -> str:
    """Attributes and methods of a class."""
    texts = docstring(cls).parameters if "Attributes:" in (cls.__doc__ or "") else {}
    attributes = [f"- {code(name)}: {sentence(text)}" for name, text in texts.items()]
    methods = [
        f"- {code(name + signature(each))}: {first_sentence(each)}"
        for name, each in vars(cls).items()
        if inspect.isfunction(each) and not name.startswith("_")
    ]
    return "\n".join([*attributes, *methods])


def _parameters(function: Any) -> str:
    return "\n".join(
        f"- {code(each.name)}: {code(each.type)}, {_default(each.name, each.default)}. {meaning(function, each.name)}"
        for each in parameters(function)
    )


def _place(function: Any) -> str:
    """What it decorates, as its return annotation says."""
    returns = str(with_parentheses(function).return_annotation)
    if returns in {"InjectValue", "InjectService"}:
        return "a method with one parameter, or stands in `Annotated`"
    found = re.match(r"(?:Callable\[\[)?(C\b|F\b|Callable\[P, R\])", returns)
    return _PLACES[found[1]] if found else ""


def _is_bare(function: Any) -> bool:
    """Whether it is written without parentheses: it takes what it decorates, and no arguments."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    takes_target = first is not None and str(first.annotation).partition(" |")[0] in _PLACES
    return takes_target and not with_parentheses(function).parameters


def _default(name: str, default: str) -> str:
    if default == "...":
        return "optional"
    if default:
        return f"default {code(default)}"
    return "any number" if name.startswith("*") else "required"


def _verbs() -> str:
    """They differ by their verb alone."""
    shapes = {signature(getattr(meshcore, name)) for name in VERBS}
    if len(shapes) > 1:
        raise ValueError(f"the decorators of verbs have different parameters: {shapes}")
    (shape,) = shapes
    rows = [(code(f"@{name}{shape}"), first_sentence(getattr(meshcore, name))) for name in VERBS]
    meanings = [
        (
            code(each.name),
            code(each.type),
            code(each.default) if each.default else "required",
            meaning(meshcore.post, each.name),
        )
        for each in parameters(meshcore.post)
    ]
    return paragraphs(
        table(("decorator", "what it does"), rows), table(("parameter", "type", "default", "meaning"), meanings)
    )


def _short_markers() -> str:
    by_source = {getattr(meshcore, name)().source: name for name in MARKERS}
    rows = [
        (code(f"{name}[T]"), code(f"Annotated[T, {by_source[get_args(getattr(meshcore, name))[1].source]}()]"))
        for name in ALIASES
    ]
    return table(("short form", "the same as"), rows)


def _markers() -> str:
    """What is said of a parameter is said once, where it is the same for all markers that have it."""
    functions = [getattr(meshcore, name) for name in MARKERS]
    rows = [(code(each.__name__ + signature(each)), first_sentence(each)) for each in functions]
    owners: dict[str, dict[str, list[str]]] = {}
    for function in functions:
        for each in parameters(function):
            owners.setdefault(each.name, {}).setdefault(meaning(function, each.name), []).append(function.__name__)
    meanings = [
        (code(name) if len(texts) == 1 else f"{code(name)} of {', '.join(map(code, names))}", text)
        for name, texts in owners.items()
        for text, names in texts.items()
    ]
    return paragraphs(table(("marker", "what it does"), rows), table(("parameter", "meaning"), meanings))


def _conditions() -> str:
    chosen = {"choose"}  # is asked by the injector
    found = {
        name: each for name, each in vars(Methods).items() if inspect.isfunction(each) and not name.startswith("_")
    }
    rows = [(code(name + signature(each)), prose(each)) for name, each in found.items() if name not in chosen]
    return table(("condition", "which methods are meant"), rows)
