"""Reads the dependencies of constructors and methods from their type hints."""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Callable
from types import FunctionType, NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Generic,
    Protocol,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from meshcore.core.marks import MISSING
from meshcore.declare.injection import InjectService, InjectValue


class Dependency(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One parameter that the injector fills.

    Attributes:
        where: the parameter as a path shows it behind its owner: `(stock)`, `.set_url(url)`.
        hint: the annotation.
        key: the type in the annotation, without `Annotated` and `None`.
        source: the mark in the annotation or on the method.
        optional: whether the annotation allows None.
        default: the default of the parameter.
        keyword: the name of the parameter if it is passed by name.
        handed_on: whether it belongs to the constructor of a base class, to which `*args` or `**kwargs` may be handed
            on. It is left out if nothing provides it, as the derived class may give it a value.
        problem: why it is unclear what to inject; empty if it is clear.
    """

    where: str
    hint: Any = None
    key: Any = None
    source: InjectValue | InjectService | None = None
    optional: bool = False
    default: object = MISSING
    keyword: str = ""
    handed_on: bool = False
    problem: str = ""


def keys_of(kind: Any) -> frozenset[Any]:
    """The types by which a product can be requested: its own and its bases, also as generic aliases."""
    keys: set[Any] = {kind}
    origin = get_origin(kind) or kind
    for base in origin.__mro__ if isinstance(origin, type) else ():
        keys.add(base)
        keys.update(alias for alias in vars(base).get("__orig_bases__", ()) if not getattr(alias, "__parameters__", ()))
    return frozenset(keys - {object, ABC, Protocol, Generic})


def name_of(kind: Any) -> str:
    """A type as it is written in code."""
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def unwrap(hint: Any) -> tuple[Any, InjectValue | InjectService | None, bool]:
    """The type in an annotation, the mark of the injector beside it, and whether None is allowed."""
    mark: InjectValue | InjectService | None = None
    optional = False
    while True:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            mark = mark or next((each for each in arguments[1:] if isinstance(each, InjectValue | InjectService)), None)
            hint = arguments[0]
        elif origin in (Union, UnionType) and len(arguments) == 2 and NoneType in arguments:  # noqa: PLR2004
            optional = True
            hint = arguments[arguments[0] is NoneType]
        else:
            return hint, mark, optional


def method_dependencies(cls: type, name: str, problems: list[str]) -> tuple[tuple[Dependency, ...], Any]:
    """The dependencies of a method, and its return annotation. Adds to the problems."""
    function = inspect.getattr_static(cls, name)
    if isinstance(function, FunctionType):
        return function_dependencies(function, problems, skip=1)
    problems.append("only a plain method can have this decorator")
    return (), None


def function_dependencies(
    function: Callable[..., Any], problems: list[str], skip: int = 0
) -> tuple[tuple[Dependency, ...], Any]:
    """The dependencies of a function, and its return annotation. Adds to the problems."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:  # noqa: BLE001 - evaluating an annotation runs the user's code
        problems.append(hints_problem(getattr(function, "__qualname__", repr(function)), error))
        return (), None
    several = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    found = (dependency_of(each, hints.get(each.name)) for each in parameters if each.kind not in several)
    return tuple(found), hints.get("return")


def hints_problem(place: str, error: Exception) -> str:
    """The problem of annotations that cannot be evaluated."""
    reason = f"{error}; import it outside of TYPE_CHECKING" if isinstance(error, NameError) else repr(error)
    return f"the annotations of {place} cannot be evaluated: {reason}"


def dependency_of(
    parameter: inspect.Parameter, hint: Any, *, by_name: bool = False, handed_on: bool = False
) -> Dependency:
    """The dependency of a parameter.

    Args:
        parameter: of a function.
        hint: its annotation, evaluated; None if it has none.
        by_name: whether it is passed by name if that is possible.
        handed_on: see `Dependency`.
    """
    key, source, optional = unwrap(hint)
    default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
    named = parameter.kind is inspect.Parameter.KEYWORD_ONLY
    named = named or (by_name and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return Dependency(
        where=f"({parameter.name})",
        hint=hint,
        key=key,
        source=source,
        optional=optional,
        default=default,
        keyword=parameter.name if named else "",
        handed_on=handed_on,
        problem="has neither an annotation nor a default" if hint is None and default is MISSING else "",
    )
