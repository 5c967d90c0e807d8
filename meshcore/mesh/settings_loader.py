"""Reads the settings of a mesh from files, environment and arguments."""

from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast

from meshcore.core.access import read_rules
from meshcore.core.errors import ConfigurationError, LocalError
from meshcore.core.marks import MISSING
from meshcore.core.policy import Policy, read_policy
from meshcore.core.settings import (
    FROM_ARGUMENT,
    SETTING_NAMES,
    Settings,
    converted_setting,
    expected_setting,
    shown_setting,
)

log = logging.getLogger(__name__)

TOKEN_VARIABLE: Final = "MESHCORE_TOKEN"  # noqa: S105 - a name
"""The variable from which `meshcore call` takes a bearer token."""

_PREFIX = "MESHCORE_"

# Kubernetes describes each service of the namespace to each container in such variables. Those of a service whose name
# begins with "meshcore" begin with our prefix.
_SERVICE_LINK = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_LINKED = re.compile(r"(tcp|udp|sctp)://\S+")


def load_settings(
    arguments: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Read the settings: defaults, then `[tool.meshcore]` of pyproject.toml, meshcore.toml, environment, arguments.

    Later sources win, key by key. Both files are read if both exist: `Settings.sources` says where each value comes
    from. An empty environment variable and an argument that is None count as not given.

    Args:
        arguments: values by field name, already typed.
        environ: by default the environment of the process. Variables are named `MESHCORE_` and the field in upper case.
            Also kept for `Settings.lookup`.
        directory: the folder of the files, by default the working directory. Its parents are not searched.

    Raises:
        ConfigurationError: with every unknown key, every value that does not fit and every file that cannot be read,
            each with its source.
    """
    environ = os.environ if environ is None else environ  # no default of the signature: `help` would print all secrets
    loading = _Loading()
    directory = directory or Path.cwd()
    loading.take_file(directory / "pyproject.toml", "tool.meshcore")
    loading.take_file(directory / "meshcore.toml")
    loading.take_environment(environ)
    for name, value in (arguments or {}).items():
        if value is not None:
            loading.take(name, value, FROM_ARGUMENT)
    if loading.problems:
        raise ConfigurationError("The settings cannot be used", loading.problems)
    return Settings(**loading.fields, values=loading.values, sources=loading.sources, environ=dict(environ))


class _Loading:
    """The settings that have been read so far. Later sources overwrite earlier ones."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.sources = dict.fromkeys(SETTING_NAMES, "default")
        self.problems: list[str] = []

    def take_file(self, path: Path, table: str = "") -> None:
        """Read a TOML file, or one table of it. A file that does not exist is ignored."""
        try:
            content: object = tomllib.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            self.problems.append(f"{path}: cannot be read: {error}")
            return
        for step in table.split(".") if table else ():
            content = cast("dict[str, object]", content).get(step, {}) if isinstance(content, dict) else content
        source = f"{path.name} [{table}]" if table else path.name
        if not isinstance(content, dict):
            self.problems.append(f"{source}: must be a table, got {shown_setting(content)}")
            return
        for name, value in cast("dict[str, object]", content).items():
            self.take(name, value, source)

    def take_environment(self, environ: Mapping[str, str]) -> None:
        """Read the variables that begin with MESHCORE_."""
        links = _service_links(environ)
        if links:
            log.warning(
                "%s: ignored, since they describe a service of Kubernetes; enableServiceLinks: false in the pod's spec "
                "keeps them out",
                ", ".join(links),
            )
        for variable in sorted(environ):
            name = variable.removeprefix(_PREFIX).lower()
            if not variable.startswith(_PREFIX) or not environ[variable] or variable in links:
                continue
            if variable == TOKEN_VARIABLE:  # an option of commands, no setting: nothing keeps it
                continue
            if name in {"policies", "rules"}:
                self.problems.append(f"environment {variable}: {name} are tables; write them in meshcore.toml")
            elif name == "values":
                self.problems.append(
                    f"environment {variable}: values have variables of their own: "
                    'ORDERS_CURRENCY is @inject_value("orders.currency")'
                )
            elif name not in SETTING_NAMES:
                self.problems.append(f"environment {variable}: no such setting{_hint(name, _PREFIX, str.upper)}")
            else:
                self.take(name, environ[variable], f"environment {variable}", strict=False)

    def take(self, name: str, value: object, source: str, *, strict: bool = True) -> None:
        """Check and keep one setting."""
        if name not in SETTING_NAMES:
            self.problems.append(f"{source}: {name}: no such setting{_hint(name)}")
            return
        if name == "policies":
            self._take_policies(value, source)
            return
        if name == "rules":
            self._take_rules(value, source)
            return
        converted = converted_setting(name, value, strict=strict)
        if converted is MISSING:
            self.problems.append(f"{source}: {name} must be {expected_setting(name)}, got {shown_setting(value)}")
        elif name == "values":
            for key, part in _flatten(converted):
                self.values[key] = part
                self.sources[f"values.{key}"] = source
            self.sources[name] = source
        else:
            self.fields[name] = converted
            self.sources[name] = source

    def _take_policies(self, value: object, source: str) -> None:
        if not isinstance(value, dict):
            self.problems.append(
                f"{source}: policies must be {expected_setting('policies')}, got {shown_setting(value)}"
            )
            return
        found = self.fields.setdefault("policies", {})
        self.sources["policies"] = source
        for key, table in cast("dict[str, Any]", value).items():
            if isinstance(table, Policy):
                found[key] = table
            elif not isinstance(table, dict):
                self.problems.append(f"{source}: policies.{key} must be a table, got {shown_setting(table)}")
            else:
                try:
                    found[key] = read_policy(cast("dict[str, Any]", table))
                except LocalError as error:
                    self.problems.append(f"{source}: policies.{key}: {error.message}")

    def _take_rules(self, value: object, source: str) -> None:
        try:
            self.fields["rules"] = read_rules(value)
            self.sources["rules"] = source
        except ConfigurationError as error:
            self.problems += [f"{source}: {problem}" for problem in error.problems]


def _hint(name: str, prefix: str = "", spell: Any = str) -> str:
    close = get_close_matches(name.replace("-", "_"), SETTING_NAMES, n=1)
    return f"; did you mean {prefix}{spell(close[0])}?" if close else f"; there are {', '.join(SETTING_NAMES)}"


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested tables under dotted keys; a list is a leaf."""
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flatten(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _service_links(environ: Mapping[str, str]) -> list[str]:
    """The variables in which Kubernetes describes services, sorted.

    MESHCORE_PORT=8000, which somebody may take for a setting, is none: Kubernetes writes MESHCORE_PORT=tcp://...
    """
    settings = {_PREFIX + name.upper() for name in SETTING_NAMES}
    services = [
        name.removesuffix("_PORT")
        for name, value in environ.items()
        if name.endswith("_PORT") and _LINKED.fullmatch(value)
    ]
    return sorted(
        name
        for name in environ
        if name.startswith(_PREFIX) and name not in settings and any(_describes(name, service) for service in services)
    )


def _describes(variable: str, service: str) -> bool:
    return variable.startswith(service) and _SERVICE_LINK.fullmatch(variable, len(service)) is not None
