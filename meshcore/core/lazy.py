"""Public names of a package that are loaded when they are first asked for (PEP 562)."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package.

    Assign them where type checkers do not look (`if not TYPE_CHECKING`): to them, a package with a `__getattr__` has
    every name, also a misspelt one.

    Args:
        package: its `__name__`.
        names: the public names, divided by spaces, by the module below the package that has them.
    """
    modules = {name: module for module, listed in names.items() for name in listed.split()}

    def getattr_(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module}"), name)
        setattr(sys.modules[package], name, value)  # so that it is asked for once
        return value

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return getattr_, dir_
