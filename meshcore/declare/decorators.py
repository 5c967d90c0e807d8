"""What all decorators have in common: they leave a mark, work without parentheses where they can, and refuse misuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from types import FunctionType, ModuleType
from typing import Any, TypeGuard, TypeVar, cast

import msgspec

from meshcore.core.errors import ConfigurationError
from meshcore.core.marks import add_mark, marks_of

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


def is_target(given: object) -> TypeGuard[Any]:
    """Whether the first argument of a decorator is what it decorates: the decorator has no parentheses."""
    return isinstance(given, type | FunctionType | staticmethod | classmethod | property)


def mark_class(decorator: str, mark: Callable[[type], object]) -> Callable[[C], C]:
    """A decorator of classes.

    Args:
        decorator: its name.
        mark: makes the mark of a class.
    """

    def decorate(cls: Any) -> Any:
        if not isinstance(cls, type):
            hint = "is a decorator below it used without parentheses?" if isinstance(cls, FunctionType) else ""
            raise misused(decorator, cls, f"it decorates classes, and this is {kind_of(cls)}", hint)
        return _marked(decorator, cls, mark(cls))

    return decorate


def mark_function(decorator: str, mark: object) -> Callable[[F], F]:
    """A decorator of methods. On a class its mark has no effect, which is reported at the start.

    Args:
        decorator: its name.
        mark: its mark.
    """

    def decorate(function: Any) -> Any:
        return _marked(decorator, function, mark)

    return decorate


def _marked(decorator: str, target: Any, mark: object) -> Any:
    for name, kind in _plain_fields(cast("Any", type(mark))):
        check_kind(decorator, target, name, getattr(mark, name), kind)
    try:
        return add_mark(target, mark)
    except (AttributeError, TypeError):  # a property has no attributes of its own, nor has a class of Python itself
        raise misused(decorator, target, f"it cannot decorate {kind_of(target)}") from None


@cache
def _plain_fields(mark: type) -> tuple[tuple[str, type], ...]:
    """The fields of a mark that hold arguments of its decorator, with their types."""
    fields = msgspec.structs.fields(mark) if issubclass(mark, msgspec.Struct) else ()
    return tuple((each.name, each.type) for each in fields if isinstance(each.type, type) and each.type is not object)


def check_kind(decorator: str, target: object, argument: str, given: object, kind: type) -> None:
    """Check the type of an argument. Type checkers do that, too, where they are used.

    Raises:
        ConfigurationError: it is of another type.
    """
    if not isinstance(given, (int, float) if kind is float else kind):
        wanted = _KINDS.get(kind, f"a {kind.__name__}")
        raise misused(decorator, target, f"{argument} has to be {wanted}, and this is {kind_of(given)}")


_KINDS: dict[type, str] = {str: "text", int: "a whole number", float: "a number"}


def refuse_bare(decorator: str, given: object, example: str) -> None:
    """Check that a decorator that needs arguments has parentheses.

    Raises:
        ConfigurationError: it has not.
    """
    if is_target(given):
        raise misused(decorator, given, "it needs an argument", f"write {example}")


def is_bare(given: object, decorator: str, mark: type) -> TypeGuard[Any]:
    """Whether the first argument of a decorator of classes is what it decorates.

    Raises:
        ConfigurationError: it has exactly this mark already, so it was meant as an argument: `@injectable(Store)`.
    """
    if any(type(each) is mark for each in marks_of(given)):
        raise misused(decorator, given, "it has this decorator already, which takes no class")
    return is_target(given)


def classes_of(decorator: str, target: type, argument: str, given: Any) -> tuple[type, ...]:
    """The classes that an argument of a decorator lists.

    Raises:
        ConfigurationError: it is no list, or one of them is no class.
    """
    if isinstance(given, type):
        raise misused(decorator, target, f"{argument} is a list", f"write {argument}=[{given.__name__}]")
    if isinstance(given, str | bytes | ModuleType) or not isinstance(given, Iterable):
        raise misused(decorator, target, f"{argument} is a list of classes, and this is {kind_of(given)}")
    found: list[type] = []
    for each in cast("Any", given):
        if not isinstance(each, type):
            mend = f"write {type(each).__name__}" if type(each).__module__ != "builtins" else "name a class"
            if isinstance(each, ModuleType):
                mend = "name a class that it defines"
            raise misused(decorator, target, f"{argument} lists classes, and this is {kind_of(each)}", mend)
        found.append(each)
    return tuple(found)


def misused(decorator: str, target: object, problem: str, mend: str = "") -> ConfigurationError:
    """The error for a decorator that cannot be applied like this."""
    text = f"{problem}; {mend}" if mend else problem
    title = f"@{decorator}" if target is None else f"@{decorator} on {_name(target)}"
    return ConfigurationError(title, [text])


def _name(target: object) -> str:
    function: Any = (
        target.fget if isinstance(target, property) else target
    )  # the others have the name of their function
    return getattr(function, "__qualname__", None) or repr(target)


def kind_of(given: object) -> str:
    """What was given, for a message."""
    if isinstance(given, ModuleType):
        return f"the Python module {given.__name__!r}"
    if isinstance(given, str):
        return f"the text {given!r}"
    if isinstance(given, type):
        return f"the class {given.__name__}"
    if isinstance(given, FunctionType):
        return "a function"
    name = type(given).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
