"""Reads modules: the classes that belong to them, the modules that they import, and their recipes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import msgspec

from meshcore.core.errors import ConfigurationError
from meshcore.core.marks import find_mark, marked_methods, marks_of
from meshcore.declare.injection import CreateMark, InjectableMark, ModuleMark
from meshcore.declare.services import ComponentMark, ImplementationMark, ServiceMark
from meshcore.inject.recipes import Recipe, recipe_of_class, recipe_of_method

_INJECTABLE_MARKS = (InjectableMark, ImplementationMark)


class ModuleDescription(msgspec.Struct, frozen=True, eq=False):
    """A module, read once.

    Attributes:
        cls: the class that was decorated with `@module`.
        mark: what the decorator says; None if the class is not decorated.
        classes: those that the Python module of `cls` defines, in that order, and those that `provides` names.
    """

    cls: type
    mark: ModuleMark | None
    classes: tuple[type, ...]

    @property
    def provides(self) -> tuple[type, ...]:
        """The classes that it provides without a mark of their own."""
        return self.mark.provides if self.mark else ()

    @property
    def components(self) -> tuple[type, ...]:
        """The components that it names."""
        return self.mark.components if self.mark else ()


def describe_modules(*module_classes: type) -> tuple[ModuleDescription, ...]:
    """Read modules and all that they import, each once; imported ones come before those that import them.

    Raises:
        ConfigurationError: one of them is no class.
    """
    found: dict[type, ModuleDescription] = {}

    def visit(cls: type, importers: tuple[type, ...]) -> None:
        # Modules may import each other. That means only that both are wanted.
        if cls in found or cls in importers:
            return
        mark = find_mark(cls, ModuleMark)
        for imported in mark.imports if mark else ():
            visit(imported, (*importers, cls))
        found[cls] = ModuleDescription(cls, mark, _classes(cls, mark))

    for module_class in module_classes:
        if not _is_class(module_class):
            raise ConfigurationError("no module to start", [_why_no_module(module_class)])
        visit(module_class, ())
    return tuple(found.values())


def _is_class(given: object) -> bool:
    return isinstance(given, type)


def _why_no_module(given: object) -> str:
    """Why something that is no class cannot be run."""
    if isinstance(given, ModuleType):
        classes = [name for name, value in vars(given).items() if find_mark(value, ModuleMark) is not None]
        found = " or ".join(f"{given.__name__}.{name}" for name in classes)
        mend = f"; name its class with @module: {found}" if found else ", and it has no class with @module"
        return f"{given.__name__} is a Python module{mend}"
    name = type(given).__name__
    if find_mark(type(given), ModuleMark) is not None:
        return f"an object of {name} was passed; pass the class itself, {name}"
    return f"a class decorated with @module was expected, got {given!r}"


def _classes(module_class: type, mark: ModuleMark | None) -> tuple[type, ...]:
    name = module_class.__module__
    members = vars(sys.modules[name]).values() if name in sys.modules else ()
    defined = [cls for cls in members if isinstance(cls, type) and cls.__module__ == name]
    return tuple(dict.fromkeys([*defined, *(mark.provides if mark else ())]))


def not_provided(modules: Iterable[ModuleDescription]) -> dict[type, str]:
    """Implementations that a module's Python module imports, but that no module provides, each with what mends that.

    A module provides the classes that its Python module defines, not those that it imports.
    """
    modules = tuple(modules)
    provided = {cls for each in modules for cls in each.classes}
    found: dict[type, str] = {}
    for each in modules:
        for cls in _imported(each.cls.__module__):
            if cls not in provided and find_mark(cls, ImplementationMark) is not None:
                name, home = cls.__qualname__, cls.__module__
                others = [other for other, value in _members(home) if find_mark(value, ModuleMark) is not None]
                mend = "".join(f" or imports=[{other}]" for other in others)
                text = f"{name} is imported in {each.cls.__module__}, but belongs to the Python module {home}"
                found.setdefault(cls, f"{text}: add provides=[{name}]{mend} to the @module of {each.cls.__qualname__}")
    return found


def _members(name: str) -> list[tuple[str, object]]:
    """The names in a Python module, of what it defines and imports."""
    return list(vars(sys.modules[name]).items()) if name in sys.modules else []


def _imported(name: str) -> Iterator[type]:
    """The classes that a Python module imports, by themselves or with their Python module."""
    for _, member in _members(name):
        if isinstance(member, type) and member.__module__ != name:
            yield member
        elif isinstance(member, ModuleType):
            for _, each in _members(member.__name__):
                if isinstance(each, type) and each.__module__ == member.__name__:
                    yield each


def recipes_of_modules(modules: Iterable[ModuleDescription]) -> tuple[Recipe, ...]:
    """The recipes of modules, in their order; each class once."""
    recipes: dict[Any, Recipe] = {}
    for each in modules:
        for cls in each.classes:
            if cls in each.provides or any(isinstance(mark, _INJECTABLE_MARKS) for mark in marks_of(cls)):
                recipes.setdefault(cls, recipe_of_class(cls, services=_implemented(cls)))
        recipe = recipe_of_class(each.cls)
        recipes[each.cls] = recipe if each.mark else msgspec.structs.replace(recipe, problems=(_no_module(each.cls),))
        for name, create_mark in marked_methods(each.cls, CreateMark).items():
            recipes[each.cls, name] = recipe_of_method(each.cls, name, create_mark.scope)
    return tuple(recipes.values())


def _no_module(cls: type) -> str:
    """What is wrong with a class that is used as a module and is none."""
    text = "is used as a module, but is not decorated with @module"
    is_component = find_mark(cls, ComponentMark) is not None
    return f"{text}; to call its services, use client_module({cls.__qualname__})" if is_component else text


def _implemented(cls: type) -> list[type]:
    """The services that an implementation implements."""
    implements = find_mark(cls, ImplementationMark) is not None
    return [base for base in cls.__mro__[1:] if implements and find_mark(base, ServiceMark) is not None]
