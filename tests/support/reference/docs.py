"""Reads what the pages need of the code: docstrings, signatures, and the texts below attributes."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping
from enum import Enum
from itertools import pairwise
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_overloads

from meshcore.declare.docstring import Docstring, parse_docstring
from tests.support.reference.markdown import sentence


def docstring(target: object) -> Docstring:
    """The parts of a docstring; a class has the parameters of its constructor and its attributes there."""
    return parse_docstring(inspect.getdoc(target) or "")


def prose(target: object) -> str:
    """The text of a docstring up to its first section."""
    found = docstring(target)
    return "\n\n".join(text for text in (found.summary, found.description) if text)


def meaning(target: object, name: str) -> str:
    """What a docstring says of a parameter or attribute.

    Raises:
        LookupError: nothing.
    """
    text = docstring(target).parameters.get(name.lstrip("*"))
    if not text:
        raise LookupError(f"the docstring of {getattr(target, '__qualname__', target)} does not say what {name} is")
    return sentence(text)


def first_sentence(target: object) -> str:
    """The first sentence of a docstring."""
    text = docstring(target).summary
    found = re.match(r".*?[.!?](?=\s|$)", text)
    return found[0] if found else text


def attribute_docs(target: type | ModuleType) -> dict[str, str]:
    """The strings below assignments in a class or module, by name: Python drops them, editors show them."""
    tree: Any = ast.parse(textwrap.dedent(inspect.getsource(target)))
    body: list[ast.stmt] = tree.body[0].body if isinstance(target, type) else tree.body
    found: dict[str, str] = {}
    for statement, following in pairwise(body):
        match statement, following:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
            case _:
                pass
    return found


class Parameter(NamedTuple):
    """A parameter as it is shown.

    Attributes:
        default: its text, empty for none.
    """

    name: str
    type: str
    default: str


def parameters(function: Any) -> list[Parameter]:
    """The parameters of a function as its source has them, without `self`."""
    signature = with_parentheses(function)
    names: Mapping[str, object] = getattr(inspect.unwrap(function), "__globals__", {})
    return [
        Parameter(_starred(each), _type(each.annotation, names), _default(each.default))
        for each in signature.parameters.values()
        if each.name != "self"
    ]


def with_parentheses(function: Any) -> inspect.Signature:
    """The form of a decorator that takes arguments. It is the last of those that have one without parentheses, too."""
    return inspect.signature(next(reversed(get_overloads(function)), function))


def signature(function: Any) -> str:
    """The parameters with their defaults, in parentheses, without types."""
    shown: list[str] = []
    for each, (name, _, default) in zip(
        (each for each in with_parentheses(function).parameters.values() if each.name != "self"),
        parameters(function),
        strict=True,
    ):
        if each.kind is each.KEYWORD_ONLY and not any(text.startswith("*") for text in shown):
            shown.append("*")
        shown.append(f"{name}={default}" if default else name)
    return f"({', '.join(shown)})"


def _starred(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
    return stars.get(parameter.kind, "") + parameter.name


def _default(default: object) -> str:
    if default is inspect.Parameter.empty:
        return ""
    if isinstance(default, Enum):  # a sign for "not given"
        return "..."
    return f'"{default}"' if isinstance(default, str) else repr(default)


def _type(annotation: object, names: Mapping[str, object]) -> str:
    """The type as it is written, except that an alias of a `Literal` is written out."""
    if annotation is inspect.Parameter.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"[\w.]+", lambda found: _written_out(names.get(found[0])) or found[0], text)


def _written_out(value: object) -> str:
    return literal(value) if get_origin(value) is Literal else ""


def literal(kind: object) -> str:
    """The values of a `Literal`, as they are typed."""
    return " or ".join(f'"{value}"' for value in get_args(kind))
