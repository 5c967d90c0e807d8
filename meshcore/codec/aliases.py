"""Replaces the aliases in a type by their values, so that recursive aliases travel.

msgspec cannot read an alias that contains itself, such as `type Json = dict[str, Json] | list[Json] | str | None`, nor
any alias of `typing_extensions`. Where an alias contains itself, a class of its own takes its place; msgspec passes
what it finds there to a hook, which converts it to the value of the alias.

msgspec reads the fields of classes itself. So there a recursive alias is refused.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ForwardRef, Literal, TypeGuard, TypeVar, Union, cast, get_args, get_origin

import msgspec

from meshcore.codec.errors import ModelError, TravelError, split


class _AnyInstance(type):
    """Msgspec checks that a hook returns an instance of the class; here that is any value."""

    def __instancecheck__(cls, _: object) -> bool:
        return True


# What they have in brackets is no type, or is not read.
_NO_TYPES: frozenset[Any] = frozenset({Literal, Callable})


class Recursive(metaclass=_AnyInstance):
    """The base of the classes that take the place of an alias within its own value.

    Attributes:
        value: The value of the alias, with this class in its place.
    """

    value: Any


def is_recursive(type_: object) -> TypeGuard[type[Recursive]]:
    """Whether this class takes the place of an alias."""
    return isinstance(type_, type) and issubclass(type_, Recursive)


def convert(type_: type[Recursive], value: Any, hook: Callable[[type, Any], Any], *, str_keys: bool) -> Any:
    """Convert decoded plain values to the value of an alias.

    Raises:
        ModelError: They are no such value.
    """
    try:
        return msgspec.convert(value, type_.value, dec_hook=hook, str_keys=str_keys)
    except msgspec.ValidationError as error:
        path, reason = split(str(error))
        inner = error.__cause__.path if isinstance(error.__cause__, ModelError) else ""
        raise ModelError(path.removeprefix("$") + inner, reason) from error


def is_alias(hint: Any) -> bool:
    """Whether this is a `type` alias, of Python 3.12 or newer or of typing_extensions."""
    return type(get_origin(hint) or hint).__name__ == "TypeAliasType"


def substitute(hint: Any, bound: Mapping[Any, Any]) -> Any:
    """A type with other types for its type variables."""
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint)
    free = getattr(hint, "__parameters__", ())
    if isinstance(hint, type) or not any(variable in bound for variable in free):
        return hint
    return hint[tuple(bound.get(variable, variable) for variable in free)]


def without_aliases(hint: Any, names: Mapping[str, Any]) -> Any:
    """The type with the values of its aliases; the same object if it has none.

    Args:
        hint: The type. A name that is still a text in it is that of an alias that contains itself.
        names: The globals of the module in which it stands.

    Raises:
        TravelError: An alias cannot be evaluated.
    """
    return _Expansion(names).expand(hint)


def why_not_field(hint: Any, owner: type) -> str | None:
    """Why an alias in the type of a field cannot travel, None if it can."""
    try:
        expansion = _Expansion(vars(sys.modules[owner.__module__]))
        expansion.expand(hint)
    except (KeyError, TravelError):  # msgspec says what is wrong
        return None
    if expansion.recursive:
        name = expansion.recursive[0]
        return f"{name} is a recursive alias, which cannot be in a field: write it as a class that contains itself"
    if expansion.foreign:
        return f"{expansion.foreign[0]} is an alias of typing_extensions, which cannot be in a field: write its value"
    return None


class _Expansion:
    """One pass over a type.

    Attributes:
        recursive: The names of the aliases that contain themselves.
        foreign: The names of the aliases that only typing_extensions knows.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.recursive: list[str] = []
        self.foreign: list[str] = []
        self._names = names
        self._active: dict[Any, type[Recursive]] = {}

    def expand(self, hint: Any) -> Any:
        """The type with the values of its aliases."""
        if isinstance(hint, str | ForwardRef):
            name = hint if isinstance(hint, str) else hint.__forward_arg__
            names = self._names
            return self._value((name, id(names)), name, names, lambda: _evaluated(name, names))
        if is_alias(hint):
            return self._alias(hint)
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in _NO_TYPES:
            return hint
        arguments = arguments[:1] if origin is Annotated else arguments
        expanded = tuple(map(self.expand, arguments))
        unchanged = all(one is other for one, other in zip(arguments, expanded, strict=True))
        return hint if unchanged else _with_arguments(hint, expanded)

    def _alias(self, hint: Any) -> Any:
        alias: Any = get_origin(hint) or hint
        names = getattr(sys.modules.get(alias.__module__), "__dict__", self._names)
        if type(alias).__module__ == "typing_extensions":
            self.foreign.append(alias.__name__)
        bound = dict(zip(alias.__type_params__, get_args(hint), strict=False))
        if (alias.__module__, alias.__name__) == ("pydantic.types", "JsonValue"):  # its value has marks of pydantic's
            return self._value(hint, alias.__name__, names, lambda: _evaluated(_JSON, names))
        return self._value(hint, alias.__name__, names, lambda: substitute(_evaluated(alias.__value__, names), bound))

    def _value(self, key: Any, name: str, names: Mapping[str, Any], evaluate: Callable[[], Any]) -> Any:
        if key in self._active:
            self.recursive.append(name)
            return self._active[key]
        made: Any = _AnyInstance(name, (Recursive,), {})
        self._active[key] = made
        outer, self._names = self._names, names
        try:
            made.value = self.expand(evaluate())
        except TravelError:
            raise
        except Exception as error:
            raise TravelError(f"the alias {name} cannot be evaluated: {type(error).__name__}: {error}") from error
        finally:
            del self._active[key]
            self._names = outer
        if made.value is made:
            raise TravelError(f"the alias {name} is its own value")
        return made.value


def _evaluated(value: Any, names: Mapping[str, Any]) -> Any:
    """The value of an alias, which may be a text: that is an annotation, and so Python."""
    return eval(value, dict(names)) if isinstance(value, str) else value  # noqa: S307 - as `typing` does


_JSON = "dict[str, JsonValue] | list[JsonValue] | str | bool | int | float | None"


def _with_arguments(hint: Any, arguments: tuple[Any, ...]) -> Any:
    origin: Any = get_origin(hint)
    if origin is Annotated:
        return cast("Any", Annotated)[(*arguments, *hint.__metadata__)]
    if origin in {Union, types.UnionType}:
        return cast("Any", Union)[arguments]
    return hint.copy_with(arguments) if hasattr(hint, "copy_with") else origin[arguments]
