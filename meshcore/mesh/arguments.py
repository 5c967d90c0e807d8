"""Checks the arguments of a mesh, which type checkers do, too, where they are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_origin

from meshcore.core.errors import ConfigurationError
from meshcore.core.settings import Settings
from meshcore.declare.decorators import kind_of


def check_settings(settings: object) -> None:
    """Check that they are settings, or None.

    Raises:
        ConfigurationError: they are not.
    """
    if settings is not None and not isinstance(settings, Settings):
        text = f"settings has to be a Settings, and this is {kind_of(settings)}"
        raise ConfigurationError("Mesh", [f"{text}; write load_settings({{...}}) or Settings(...)"])


def copy_of_overrides(overrides: Any) -> dict[type, object]:
    """The overrides, in a dict that the caller does not have.

    Raises:
        ConfigurationError: they are no mapping of classes.
    """
    if overrides is None:
        return {}
    if not isinstance(overrides, Mapping):
        text = f"overrides has to be a dict, and this is {kind_of(overrides)}; write overrides={{Interface: ...}}"
        raise ConfigurationError("Mesh", [text])
    for key in cast("Mapping[Any, object]", overrides):
        if not isinstance(key, type) and get_origin(key) is None:
            raise ConfigurationError("Mesh", [f"the keys of overrides are classes, and this is {kind_of(key)}"])
    return dict(cast("Mapping[type, object]", overrides))
