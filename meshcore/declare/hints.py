"""Resolves annotations: evaluates strings, and replaces the type variables of generic base classes."""

from __future__ import annotations

import inspect
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from meshcore.codec.aliases import substitute, without_aliases
from meshcore.codec.errors import TravelError
from meshcore.declare.http import ParameterMark


def resolve_hints(
    interface: type, owner: type, function: Any, place: str, problems: list[str]
) -> dict[str, Any] | None:
    """The annotations of a function that `owner`, a base of `interface`, defines. None after adding a problem."""
    try:
        # The type variables of a class (PEP 695) are in no namespace of its methods.
        variables = {variable.__name__: variable for variable in getattr(owner, "__type_params__", ())}
        hints = get_type_hints(function, localns=variables, include_extras=True)
    except NameError as error:
        problems.append(
            f"{place}: annotation names {error.name!r}, which is not defined at run time in {function.__module__}; "
            "import it outside of TYPE_CHECKING and declare it at the module's top level"
        )
        return None
    except Exception as error:  # noqa: BLE001 - evaluating an annotation runs arbitrary code of the user's
        problems.append(f"{place}: its annotations cannot be evaluated: {type(error).__name__}: {error}")
        return None
    bound = _type_arguments(interface).get(owner, {})
    try:
        names = inspect.unwrap(function).__globals__
        resolved = {name: without_aliases(substitute(hint, bound), names) for name, hint in hints.items()}
    except TravelError as error:
        problems.append(f"{place}: {error}")
        return None
    for name, hint in resolved.items():
        free = (hint,) if isinstance(hint, TypeVar) else getattr(hint, "__parameters__", ())
        if free and not isinstance(hint, type):
            problems.append(f"{place}({name}): type variable {free[0]} has no type here; derive from a concrete base")
            return None
    return resolved


def split_marks(hint: Any) -> tuple[Any, ParameterMark | None]:
    """The type without the mesh's marks, and the outermost mark, None if there is none.

    Marks in a member of a union (`HeaderParam[str] | None`) count, too. Aliases are replaced by their values before.
    """
    origin = get_origin(hint)
    if origin is Annotated:
        plain, *metadata = get_args(hint)
        inner, mark = split_marks(plain)
        marks = [entry for entry in metadata if isinstance(entry, ParameterMark)]
        others = tuple(entry for entry in metadata if not isinstance(entry, ParameterMark))
        # Subscribing with a tuple is the same as writing its entries out.
        rebuilt: Any = _annotated[(inner, *others)] if others else inner
        return rebuilt, (marks[-1] if marks else mark)
    if origin in {Union, UnionType}:
        members = [split_marks(each) for each in get_args(hint)]
        found = [mark for _, mark in members if mark is not None]
        # If marks differ, they stay in the type, and `buried_mark` finds them.
        if found and all(mark == found[0] for mark in found):
            return _union[tuple(plain for plain, _ in members)], found[0]
        return hint, None
    return hint, None


def buried_mark(hint: Any) -> ParameterMark | None:
    """A mark inside a type, where it has no effect."""
    if isinstance(hint, ParameterMark):
        return hint
    return next(filter(None, map(buried_mark, get_args(hint))), None)


# Subscribed with values that are known only at run time. As `Any`, type checkers accept that.
_annotated: Any = Annotated
_union: Any = Union


def _type_arguments(interface: type) -> dict[Any, dict[Any, Any]]:
    """For each generic base of the interface, the types of its type variables."""
    found: dict[Any, dict[Any, Any]] = {}

    def visit(cls: Any) -> None:
        for base in getattr(cls, "__orig_bases__", cls.__bases__):
            origin = get_origin(base) or base
            arguments = (substitute(argument, found.get(cls, {})) for argument in get_args(base))
            found.setdefault(origin, dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False)))
            if isinstance(origin, type):
                visit(origin)

    visit(interface)
    return found
