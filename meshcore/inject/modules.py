"""Modules, read: which classes belong to them, which others they import, and the recipes of all that."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from meshcore.core.marks import find_mark, marked_methods, marks_of
from meshcore.declare.injection import CreateMark, InjectableMark, ModuleMark
from meshcore.declare.services import ImplementationMark
from meshcore.inject.recipes import Recipe, recipe_of_class, recipe_of_method

# Marks of what the injector makes.
_MADE = (InjectableMark, ImplementationMark)


def recipes_of_module(*module_classes: type) -> tuple[Recipe, ...]:
    """The recipes of modules and of those they import, which come first; each class once."""
    recipes: dict[Any, Recipe] = {}
    for each in modules_of(*module_classes):
        mark = find_mark(each, ModuleMark)
        named = mark.provides if mark else ()
        for cls in classes_of(each):
            if cls in named or any(isinstance(each_mark, _MADE) for each_mark in marks_of(cls)):
                recipes.setdefault(cls, recipe_of_class(cls))
        recipe = recipe_of_class(each)
        problems = () if mark else ("is used as a module, but is not decorated with @module",)
        recipes[each] = msgspec.structs.replace(recipe, problems=(*recipe.problems, *problems))
        for name, create_mark in marked_methods(each, CreateMark).items():
            recipes[each, name] = recipe_of_method(each, name, create_mark.scope)
    return tuple(recipes.values())


def modules_of(*module_classes: type) -> tuple[type, ...]:
    """The modules and all they import, each once, imported ones before those that import them."""
    found: dict[type, None] = {}

    def visit(cls: type, importers: tuple[type, ...]) -> None:
        # Modules may import each other: that says only that both are wanted.
        if cls in found or cls in importers:
            return
        mark = find_mark(cls, ModuleMark)
        for imported in mark.imports if mark else ():
            visit(imported, (*importers, cls))
        found[cls] = None

    for module_class in module_classes:
        visit(module_class, ())
    return tuple(found)


def classes_of(module_class: type) -> tuple[type, ...]:
    """What belongs to a module: the classes that its Python module defines, in that order, and those it names."""
    name = module_class.__module__
    members = vars(sys.modules[name]).values() if name in sys.modules else ()
    defined = [cls for cls in members if isinstance(cls, type) and cls.__module__ == name]
    mark = find_mark(module_class, ModuleMark)
    return tuple(dict.fromkeys([*defined, *(mark.provides if mark else ())]))
