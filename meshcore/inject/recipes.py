"""Recipes: how the injector makes each object, read from marked classes and methods.

A recipe is data, and independent of other recipes. It holds the problems of its declaration, which are reported
together with all others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager, contextmanager
from enum import Enum, auto
from functools import partial
from types import NoneType
from typing import (
    Any,
    get_args,
)

import msgspec

from meshcore.core.marks import MISSING, marked_methods, marks_of
from meshcore.declare.injection import InjectableMark, InjectService, InjectValue, OnDestroyMark, OnInitMark
from meshcore.declare.services import ImplementationMark
from meshcore.inject.constructors import constructor_dependencies
from meshcore.inject.dependencies import (
    Dependency,
    function_dependencies,
    keys_of,
    method_dependencies,
    unwrap,
)


class Kind(Enum):
    """What calling a recipe returns."""

    OBJECT = auto()
    AWAITABLE = auto()
    GENERATOR = auto()
    ASYNC_GENERATOR = auto()
    CONTEXT = auto()  # a context manager, which is entered
    ASYNC_CONTEXT = auto()
    EXISTING = auto()  # an object that was made elsewhere; the injector does not finish it


_FORMS = {
    Kind.GENERATOR: "Iterator[T]",
    Kind.ASYNC_GENERATOR: "AsyncIterator[T]",
    Kind.CONTEXT: "Iterator[T]",
    Kind.ASYNC_CONTEXT: "AsyncIterator[T]",
}
"""The annotations of methods that yield what they provide."""


def _nothing() -> Any: ...


# Whatever these decorators of the standard library make has the same code.
_CONTEXTS: dict[Any, Kind] = {
    contextmanager(_nothing).__code__: Kind.CONTEXT,
    asynccontextmanager(_nothing).__code__: Kind.ASYNC_CONTEXT,
}


class Recipe(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """How one object is made.

    Attributes:
        origin: the class or method, as it is shown in a path.
        place: the Python module and qualified name, to distinguish classes of the same name.
        product: the exact type of the object: a class, or an alias such as `Repository[Order]`.
        keys: all types by which the object can be requested.
        scope: "singleton", "request" or "transient".
        call: makes the object.
        kind: what the call returns.
        dependencies: the arguments of the call, in order.
        problems: what is wrong with the declaration.
    """

    origin: str
    place: str
    product: Any
    keys: frozenset[Any]
    scope: str
    call: Callable[..., Any]
    kind: Kind = Kind.OBJECT
    dependencies: tuple[Dependency, ...] = ()
    problems: tuple[str, ...] = ()


class Lifecycle(msgspec.Struct, frozen=True):
    """The methods of a class that the injector calls after construction and at clean-up; base classes first.

    Attributes:
        setters: by name, with the one dependency of each.
        on_init: methods that are called after the setters.
        on_destroy: methods that are called at clean-up.
        problems: what is wrong with their declarations.
    """

    setters: tuple[tuple[str, Dependency], ...]
    on_init: tuple[str, ...]
    on_destroy: tuple[str, ...]
    problems: tuple[str, ...]


def recipe_of_class(cls: type, scope: str = "", services: Iterable[type] = ()) -> Recipe:
    """The recipe of a class. Its scope is by default that of its marks, or else "singleton".

    Args:
        cls: the class.
        scope: replaces that of its marks.
        services: interfaces that the class implements. What it lacks of them is reported with other differences.
    """
    scopes = {mark.scope for mark in marks_of(cls) if isinstance(mark, InjectableMark | ImplementationMark)}
    problems = [f"its decorators name several scopes: {', '.join(sorted(scopes))}"] if len(scopes) > 1 else []
    if getattr(cls, "_is_protocol", False):
        problems.append("is a protocol, which has no instances; inject a class that implements it")
    elif inspect.isabstract(cls):
        reported = {name for each in services for name in _abstract_methods(each)}
        if missing := sorted(_abstract_methods(cls) - reported):
            problems.append(f"is abstract, it has no instances; implement {', '.join(missing)}")
    return Recipe(
        origin=cls.__name__,
        place=f"{cls.__module__}.{cls.__qualname__}",
        product=cls,
        keys=keys_of(cls),
        scope=scope or min(scopes, default="singleton"),
        call=cls,
        dependencies=constructor_dependencies(cls, problems),
        problems=tuple(problems),
    )


def _abstract_methods(cls: type) -> frozenset[str]:
    return getattr(cls, "__abstractmethods__", frozenset())


def recipe_of_object(value: object, *keys: Any) -> Recipe:
    """The recipe of an object that exists already. It can be requested by its own types and those of the keys."""
    cls = type(value)
    return Recipe(
        origin=cls.__name__,
        place=f"{cls.__module__}.{cls.__qualname__}",
        product=keys[0] if keys else cls,
        keys=keys_of(cls).union(*map(keys_of, keys)),
        scope="singleton",
        call=lambda: value,
        kind=Kind.EXISTING,
    )


def recipe_of_function(function: Callable[..., Any], product: Any) -> Recipe:
    """The recipe of a singleton that a function makes. Its return annotation is ignored."""
    problems: list[str] = []
    dependencies, _ = function_dependencies(function, problems)
    name = getattr(function, "__qualname__", repr(function))
    return Recipe(
        origin=name,
        place=f"{getattr(function, '__module__', '')}.{name}",
        product=product,
        keys=keys_of(product),
        scope="singleton",
        call=function,
        kind=_kind(function),
        dependencies=dependencies,
        problems=tuple(problems),
    )


def lifecycle_of(cls: type) -> Lifecycle:
    """The marked methods of a class. An overridden one is listed once, where it first appears."""
    problems: list[str] = []
    setters: list[tuple[str, Dependency]] = []
    for name, mark in marked_methods(cls, (InjectValue, InjectService)).items():
        wrong: list[str] = []
        dependencies, _ = method_dependencies(cls, name, wrong)
        if len(dependencies) == 1:
            found = dependencies[0]
            where = f".{name}{found.where}"
            setters.append((name, msgspec.structs.replace(found, where=where, source=found.source or mark)))
        elif not wrong:
            wrong.append("has to take exactly one parameter, the one to inject")
        problems += [f".{name}: {text}" for text in wrong]
    hooks = {kind: tuple(marked_methods(cls, kind)) for kind in (OnInitMark, OnDestroyMark)}
    for name in (*hooks[OnInitMark], *hooks[OnDestroyMark]):
        wrong = []
        dependencies, _ = method_dependencies(cls, name, wrong)
        if any(parameter.default is MISSING for parameter in dependencies):
            wrong.append("is called without arguments, it cannot take any")
        problems += [f".{name}: {text}" for text in wrong]
    return Lifecycle(tuple(setters), hooks[OnInitMark], hooks[OnDestroyMark], tuple(problems))


def recipe_of_method(module_class: type, name: str, scope: str) -> Recipe:
    """The recipe of a `@create` method of a module."""
    problems: list[str] = []
    dependencies, hint = method_dependencies(module_class, name, problems)
    function = inspect.getattr_static(module_class, name)
    kind = _kind(function)
    if kind in _FORMS:
        hint = next(iter(get_args(hint)), None)
    product, _, optional = unwrap(hint)
    if not problems and (product in (None, NoneType, Any) or optional):
        form = _FORMS.get(kind, "a type")
        problems.append(f"needs {form} as its return annotation, which says what it provides; None is not provided")
    owner = Dependency(where="(self)", hint=module_class, key=module_class)
    return Recipe(
        origin=f"{module_class.__name__}.{name}",
        place=f"{module_class.__module__}.{module_class.__qualname__}.{name}",
        product=product,
        keys=keys_of(product),
        scope=scope,
        # The method is looked up on the object: advice may have replaced it there.
        call=partial(_call_method, name),
        kind=kind,
        dependencies=(owner, *dependencies),
        problems=tuple(problems),
    )


def _call_method(name: str, owner: object, *args: Any, **kwargs: Any) -> Any:
    return getattr(owner, name)(*args, **kwargs)


def _kind(function: Any) -> Kind:
    while hasattr(function, "__wrapped__"):
        code = getattr(function, "__code__", None)
        if code in _CONTEXTS:
            return _CONTEXTS[code]
        function = function.__wrapped__
    if inspect.isasyncgenfunction(function):
        return Kind.ASYNC_GENERATOR
    if inspect.isgeneratorfunction(function):
        return Kind.GENERATOR
    return Kind.AWAITABLE if inspect.iscoroutinefunction(function) else Kind.OBJECT
