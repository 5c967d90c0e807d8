"""Loads public names of a package when they are first used (PEP 562), and modules without garbage collection."""

import gc
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def lazy_names(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package.

    Assign them under `if not TYPE_CHECKING`: to type checkers, a package with a `__getattr__` has every name, even a
    misspelt one.

    Args:
        package: its `__name__`.
        names: maps each module below the package to the public names that it defines, separated by spaces.
    """
    modules = {name: module for module, listed in names.items() for name in listed.split()}

    def getattr_(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module}"), name)
        setattr(sys.modules[package], name, value)  # from now on without `__getattr__`
        return value

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return getattr_, dir_


@contextmanager
def uncollected() -> Generator[None]:
    """Load modules without garbage collection. They stay, and the collector would look through them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
