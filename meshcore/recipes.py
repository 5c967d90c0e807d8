"""Recipes: how the injector makes what it hands out. Here are the decorators, and what is read off those who wear them.

A decorator only leaves a mark. A recipe is data, made when somebody asks for it, and knows nothing of other recipes;
what cannot work in a declaration is kept in it as text, to be reported together with everything else.
"""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from types import FunctionType, NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Generic,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from meshcore.declare import ImplementationMark
from meshcore.injection import (
    MISSING,
    InjectableMark,
    InjectService,
    InjectValue,
    OnDestroyMark,
    OnInitMark,
)
from meshcore.marks import marks_of

M = TypeVar("M")


class Kind(Enum):
    """What calling a recipe gives."""

    OBJECT = auto()
    AWAITABLE = auto()
    GENERATOR = auto()
    ASYNC_GENERATOR = auto()
    GIVEN = auto()  # an object that exists already; it is handed out untouched


class Dependency(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What one parameter asks for.

    Attributes:
        where: the parameter, as it follows its owner in a path: `(stock)`, `.set_url(url)`.
        hint: the annotation.
        key: the type in it, without `Annotated` and `None`.
        source: the mark in the annotation or on the method.
        optional: None will do.
        default: the parameter's default.
        keyword: its name if it has to be passed by name.
        problem: why nobody could know what to inject.
    """

    where: str
    hint: Any = None
    key: Any = None
    source: InjectValue | InjectService | None = None
    optional: bool = False
    default: object = MISSING
    keyword: str = ""
    problem: str = ""


class Recipe(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """How one thing is made.

    Attributes:
        origin: the class or method, as it is shown in a path.
        place: the Python module and qualified name, for telling apart what has the same name.
        product: exactly what it makes; a class, or an alias such as `Repository[Order]`.
        keys: all types under which the product can be asked for.
        scope: "singleton", "request" or "transient".
        call: makes it.
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
    """The methods of a class that the injector calls after construction and at clean-up, base classes first."""

    setters: tuple[tuple[str, Dependency], ...]
    on_init: tuple[str, ...]
    on_destroy: tuple[str, ...]
    problems: tuple[str, ...]


def recipe_of_class(cls: type, scope: str = "") -> Recipe:
    """The recipe of a class; without a scope that of its marks, without marks a singleton."""
    scopes = {mark.scope for mark in marks_of(cls) if isinstance(mark, InjectableMark | ImplementationMark)}
    problems = [f"its decorators name several scopes: {', '.join(sorted(scopes))}"] if len(scopes) > 1 else []
    if getattr(cls, "_is_protocol", False):
        problems.append("is a protocol, which has no instances; inject a class that implements it")
    elif inspect.isabstract(cls):
        missing: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
        problems.append(f"is abstract, it has no instances; implement {', '.join(sorted(missing))}")
    return Recipe(
        origin=cls.__name__,
        place=f"{cls.__module__}.{cls.__qualname__}",
        product=cls,
        keys=keys_of(cls),
        scope=scope or min(scopes, default="singleton"),
        call=cls,
        dependencies=_constructor(cls, problems),
        problems=tuple(problems),
    )


def recipe_of_object(value: object, *keys: Any) -> Recipe:
    """A recipe for an object that exists already, under its own types and those of the keys."""
    cls = type(value)
    return Recipe(
        origin=cls.__name__,
        place=f"{cls.__module__}.{cls.__qualname__}",
        product=keys[0] if keys else cls,
        keys=keys_of(cls).union(*map(keys_of, keys)),
        scope="singleton",
        call=lambda: value,
        kind=Kind.GIVEN,
    )


def recipe_of_function(function: Callable[..., Any], product: Any) -> Recipe:
    """A recipe that calls a function, whatever its return annotation says, for a singleton."""
    problems: list[str] = []
    dependencies, _ = _parameters(function, problems)
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
    """The marked methods of a class. One that is overridden is called once, at its first place."""
    problems: list[str] = []
    setters: list[tuple[str, Dependency]] = []
    for name, mark in marked_methods(cls, (InjectValue, InjectService)).items():
        wrong: list[str] = []
        dependencies, _ = _method_parameters(cls, name, wrong)
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
        dependencies, _ = _method_parameters(cls, name, wrong)
        if any(parameter.default is MISSING for parameter in dependencies):
            wrong.append("is called without arguments, it cannot take any")
        problems += [f".{name}: {text}" for text in wrong]
    return Lifecycle(tuple(setters), hooks[OnInitMark], hooks[OnDestroyMark], tuple(problems))


def marked_methods(cls: type, kind: type[M] | tuple[type[M], ...]) -> dict[str, M]:
    """The methods with a mark of some kind, also if an override does not repeat it; base classes first."""
    found: dict[str, M] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            for mark in marks_of(member):
                if isinstance(mark, kind):
                    found[name] = mark
    return found


def takes_one(function: object) -> bool:
    """Whether this is a plain method that can be called with exactly one argument."""
    if not isinstance(function, FunctionType):
        return False
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    return True


def keys_of(kind: Any) -> frozenset[Any]:
    """The types under which a product can be asked for: its own and those of its bases, also as generic aliases."""
    keys: set[Any] = {kind}
    origin = get_origin(kind) or kind
    for base in origin.__mro__ if isinstance(origin, type) else ():
        keys.add(base)
        keys.update(alias for alias in vars(base).get("__orig_bases__", ()) if not getattr(alias, "__parameters__", ()))
    return frozenset(keys - {object, ABC, Protocol, Generic})


def name_of(kind: Any) -> str:
    """A type as people write it."""
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def unwrap(hint: Any) -> tuple[Any, InjectValue | InjectService | None, bool]:
    """The type in an annotation, the injector's mark beside it, and whether None will do."""
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


def recipe_of_method(module_class: type, name: str, scope: str) -> Recipe:
    """How a module's method makes what it returns."""
    problems: list[str] = []
    dependencies, hint = _method_parameters(module_class, name, problems)
    function = inspect.getattr_static(module_class, name)
    kind = _kind(function)
    if kind in {Kind.GENERATOR, Kind.ASYNC_GENERATOR}:
        hint = next(iter(get_args(hint)), None)
    product, _, optional = unwrap(hint)
    if not problems and (product in (None, NoneType, Any) or optional):
        form = {Kind.GENERATOR: "Iterator[T]", Kind.ASYNC_GENERATOR: "AsyncIterator[T]"}.get(kind, "a type")
        problems.append(f"needs {form} as its return annotation, which says what it provides; None is not provided")
    owner = Dependency(where="(self)", hint=module_class, key=module_class)
    return Recipe(
        origin=f"{module_class.__name__}.{name}",
        place=f"{module_class.__module__}.{module_class.__qualname__}.{name}",
        product=product,
        keys=keys_of(product),
        scope=scope,
        # Looked up on the object, where advice may have replaced it.
        call=partial(_call_method, name),
        kind=kind,
        dependencies=(owner, *dependencies),
        problems=tuple(problems),
    )


def _call_method(name: str, owner: object, *args: Any, **kwargs: Any) -> Any:
    return getattr(owner, name)(*args, **kwargs)


def _kind(function: Any) -> Kind:
    if inspect.isasyncgenfunction(function):
        return Kind.ASYNC_GENERATOR
    if inspect.isgeneratorfunction(function):
        return Kind.GENERATOR
    return Kind.AWAITABLE if inspect.iscoroutinefunction(function) else Kind.OBJECT


def _constructor(cls: type, problems: list[str]) -> tuple[Dependency, ...]:
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if isinstance(init, FunctionType):
            # Protocols put a constructor of typing's into their subclasses; it calls the next one, which is meant.
            if init.__module__ != "typing":
                return _parameters(init, problems, skip=1)[0]
        elif init is not None or hasattr(base, "__struct_fields__"):
            break
    # Written in C: a Struct says what it takes, others either take nothing or do not say.
    return _parameters(cls, problems)[0] if hasattr(cls, "__struct_fields__") else ()


def _method_parameters(cls: type, name: str, problems: list[str]) -> tuple[tuple[Dependency, ...], Any]:
    function = inspect.getattr_static(cls, name)
    if isinstance(function, FunctionType):
        return _parameters(function, problems, skip=1)
    problems.append("only a plain method can be decorated so")
    return (), None


def _parameters(function: Callable[..., Any], problems: list[str], skip: int = 0) -> tuple[tuple[Dependency, ...], Any]:
    """What the parameters ask for, and the return annotation."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:  # noqa: BLE001 - evaluating an annotation runs code of the user's
        reason = f"{error}; import it outside of TYPE_CHECKING" if isinstance(error, NameError) else repr(error)
        place = getattr(function, "__qualname__", function)
        problems.append(f"the annotations of {place} cannot be evaluated: {reason}")
        return (), None
    several = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    found = (_dependency(each, hints.get(each.name)) for each in parameters if each.kind not in several)
    return tuple(found), hints.get("return")


def _dependency(parameter: inspect.Parameter, hint: Any) -> Dependency:
    key, source, optional = unwrap(hint)
    default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
    return Dependency(
        where=f"({parameter.name})",
        hint=hint,
        key=key,
        source=source,
        optional=optional,
        default=default,
        keyword=parameter.name if parameter.kind is inspect.Parameter.KEYWORD_ONLY else "",
        problem="has neither an annotation nor a default" if hint is None and default is MISSING else "",
    )
