"""Reads what the constructor of a class asks for: a function, or what was generated from the fields of the class."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import InitVar
from types import FunctionType, SimpleNamespace
from typing import Any, cast, get_type_hints

from meshcore.inject.dependencies import Dependency, dependency_of, hints_problem

_VARIABLE = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def constructor_dependencies(cls: type, problems: list[str]) -> tuple[Dependency, ...]:
    """The dependencies of a constructor. Adds to the problems."""
    try:
        # The constructors of these are written in C or in pydantic; the signature has their fields.
        if hasattr(cls, "__struct_fields__") or getattr(cls, "__signature__", None) is not None:
            found = list(_of_fields(cls))
        else:
            # Python passes the same arguments to both.
            found = list(_of_functions(cls, "__init__"))
            known = {each.where for each in found}
            found += [each for each in _of_functions(cls, "__new__") if each.where not in known]
    except Exception as error:  # noqa: BLE001 - evaluating an annotation runs the user's code
        problems.append(hints_problem(f"{cls.__qualname__}.__init__", error))
        return ()
    return tuple(found)


def _of_fields(cls: type) -> Iterator[Dependency]:
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind not in _VARIABLE:
            hint = parameter.annotation
            if isinstance(hint, str) or hint is inspect.Parameter.empty or hasattr(cls, "__struct_fields__"):
                hint = _field_hint(cls, parameter.name)
            yield dependency_of(parameter, hint, by_name=True)


def _of_functions(cls: type, kind: str) -> Iterator[Dependency]:
    """Of `__init__` or `__new__`. What a function takes as `*args` or `**kwargs` it may hand on to that of its base."""
    known: set[str] = set()
    handed_on = False
    by_name = True
    for owner, function in _functions(cls, kind):
        parameters = list(inspect.signature(function).parameters.values())[1:]
        kinds = {parameter.kind for parameter in parameters}
        if inspect.Parameter.VAR_POSITIONAL in kinds and inspect.Parameter.VAR_KEYWORD not in kinds:
            by_name = False
        hints = _hints(owner, function, parameters)
        for parameter in parameters:
            # Those with a default may stay at it, as the derived class may give them a value.
            wanted = not handed_on or parameter.default is inspect.Parameter.empty
            if parameter.kind not in _VARIABLE and parameter.name not in known and wanted:
                known.add(parameter.name)
                yield dependency_of(parameter, hints.get(parameter.name), by_name=by_name, handed_on=handed_on)
        if kinds.isdisjoint(_VARIABLE):
            return
        handed_on = True


def _functions(cls: type, kind: str) -> Iterator[tuple[type, FunctionType]]:
    """The constructors of a class and its bases that are written in Python, each with the class that has it."""
    for base in cls.__mro__:
        member = vars(base).get(kind)
        function = member.__func__ if isinstance(member, staticmethod) else member
        if isinstance(function, FunctionType):
            # Protocols give their subclasses a constructor that calls the next one. That one is read.
            if function.__module__ != "typing":
                yield base, function
        elif member is not None:
            return


def _hints(owner: type, function: FunctionType, parameters: list[inspect.Parameter]) -> Mapping[str, Any]:
    if not function.__code__.co_filename.startswith("<"):
        return get_type_hints(function, include_extras=True)
    # Generated from fields, whose annotations may be the texts of other Python modules: those of its bases.
    fields = {_attrs_name(each): each.name for each in getattr(owner, "__attrs_attrs__", ())}
    found = {each.name: _field_hint(owner, fields.get(each.name, each.name)) for each in parameters}
    if all(hint is not None for hint in found.values()):
        return found
    return {
        **get_type_hints(function, include_extras=True),
        **{n: hint for n, hint in found.items() if hint is not None},
    }


def _attrs_name(attribute: Any) -> str:
    """The parameter for a field of attrs: without leading underscores, if it is not told otherwise."""
    return str(getattr(attribute, "alias", None) or attribute.name.lstrip("_"))


def _field_hint(cls: type, name: str) -> Any:
    """The annotation of a field, evaluated in the Python module of the class that has it; None for no such field."""
    for base in cls.__mro__:
        annotations = inspect.get_annotations(base)
        if name in annotations:
            module = sys.modules.get(base.__module__)
            variables = {each.__name__: each for each in getattr(base, "__type_params__", ())}
            holder: Any = SimpleNamespace(__annotations__={name: annotations[name]})
            hints = get_type_hints(
                holder,
                globalns=vars(module) if module else {},
                localns={**vars(base), **variables},
                include_extras=True,
            )
            return _without_init_var(hints[name])
    return None


def _without_init_var(hint: Any) -> Any:
    """The type of a parameter of a dataclass that is no field of it."""
    is_init_var = isinstance(hint, InitVar)
    return cast("Any", hint).type if is_init_var else hint
