"""Imports the module class that the setting `module` names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, cast

from meshcore.core.errors import ConfigurationError
from meshcore.core.marks import find_mark
from meshcore.core.settings import Settings
from meshcore.core.suggest import closest, did_you_mean
from meshcore.declare.injection import ModuleMark
from meshcore.inject.modules import describe_modules
from meshcore.mesh.catalog import Catalog


def load_module(settings: Settings) -> type:
    """The module class that the setting `module` names.

    Raises:
        ConfigurationError: there is none. The text names the setting to change.
    """
    setting = settings.module
    origin = settings.sources.get("module", "default")
    title = f"setting module = {setting!r} (from: {origin})" if setting else "no module to serve"
    if not setting:
        raise ConfigurationError(title, ["set MESHCORE_MODULE=package.module:Class, or `module` in [tool.meshcore]"])
    name, _, path = setting.partition(":")
    folder = str(working_directory())
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                title, [f"no Python module {error.name!r} in {folder} or on sys.path{_hint(error.name, folder)}"]
            ) from None
        raise ConfigurationError(title, [f"importing {name} failed: {error}"]) from error
    except ConfigurationError as error:  # a decorator that cannot be applied like this
        raise ConfigurationError(title, [f"importing {name} failed: {error.message}"]) from error
    except Exception as error:
        raise ConfigurationError(title, [f"importing {name} failed: {type(error).__name__}: {error}"]) from error
    for part in path.split("."):
        members = cast("dict[str, Any]", getattr(found, "__dict__", {}))
        if part not in members:
            modules = [key for key, value in members.items() if find_mark(value, ModuleMark) is not None]
            hint = did_you_mean(part, modules) if modules else "; no class in it is decorated with @module"
            raise ConfigurationError(title, [f"{name} has no {part!r}{hint}"])
        found = members[part]
    if not isinstance(found, type):
        raise ConfigurationError(title, [f"{path} is a {type(found).__name__}, not a class decorated with @module"])
    return found


def load_served_module(settings: Settings) -> type:
    """The module class that the setting `module` names, which implements a component.

    Raises:
        ConfigurationError: there is none, or there is nothing that it would serve.
    """
    module = load_module(settings)
    catalog = Catalog(describe_modules(module))
    # Mistakes in the declarations may be the reason. The start reports them, together with all others.
    if not catalog.problems and (reason := catalog.why_nothing_is_served()):
        raise ConfigurationError(f"{module.__qualname__} serves nothing", [reason])
    return module


def _hint(missing: str, folder: str) -> str:
    """A suggestion: the Python module with the most similar name in the folder of the missing one."""
    parent, _, name = missing.rpartition(".")
    package = sys.modules.get(parent) if parent else None
    places = list(getattr(package, "__path__", ())) if parent else [folder]
    entries = [entry for place in places for entry in Path(place).iterdir() if Path(place).is_dir()]
    names = {entry.stem for entry in entries if entry.suffix == ".py" or (entry.is_dir() and entry.name.isidentifier())}
    close = closest(name, names)
    return f"; did you mean {(f'{parent}.{close}' if parent else close)!r}?" if close else ""


def working_directory() -> Path:
    """The working directory. Adds it to `sys.path`, as `python -m` does and console scripts do not."""
    folder = Path.cwd()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return folder
