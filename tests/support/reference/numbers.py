"""Fills the pages of policies and settings."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from inspect import signature
from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import Meta

from meshcore import LeastLoadedURLSelector, Policy, PolicyURLSelector, Settings
from meshcore.core.policy import DEFAULTS, OFF, SHARED, Balance
from meshcore.ports.installed import REGISTRIES, VALUE_SOURCES
from meshcore.registry import ConsulComponentRegistry, ConsulValueSource
from meshcore.registry.consul.api.config import _VARIABLES, ConsulConfig
from tests.support.reference.docs import meaning, prose
from tests.support.reference.markdown import code, table

_TABLES: Final = frozenset({"policies", "rules", "values"})
"""Settings that are not read from the environment."""
_KEPT: Final = frozenset({"sources", "environ"})
"""Fields of `Settings` that nobody sets."""
_REGISTRIES: Final = {
    "directory": ("`directory:`, `directory:///path`", "Processes of one machine, by files in a folder. The default."),
    "consul": (
        "`consul:`, `consul://host:8500?OPTIONS`",
        "Any number of machines, by the Consul agent of this machine.",
    ),
    "static": (
        "`static:orders=rest(http://h1:8000),rest(http://h2:8000);stock=...`",
        "Fixed addresses: `COMPONENT=CHANNEL(URL),...;...`. An instance is what has the same host and port.",
    ),
    "local": ("`local:`", "This process only."),
}
_VALUE_SOURCES: Final = {
    "consul": (
        "`consul://host:8500/PREFIX?OPTIONS`",
        "The key/value store of Consul: `orders.currency` is the key `PREFIX/orders/currency`.",
    )
}


def policy() -> Callable[[str], str]:
    """Every field of `Policy`."""
    parts = {
        "fields of calls": lambda: _policy_table(shared=False),
        "fields of components": lambda: _policy_table(shared=True),
        "values of balance": _balance,
        "fields without resilience": _off,
    }
    return lambda place: parts[place]()


def settings() -> Callable[[str], str]:
    """Every setting."""
    parts = {"settings": _settings, "adapters": _adapters, "consul options": _consul_options}
    return lambda place: parts[place]()


def _policy_table(*, shared: bool) -> str:
    hints = get_type_hints(Policy, include_extras=True)
    rows = [
        (code(name), _kind(get_args(hints[name])[0]), code(_shown(getattr(DEFAULTS, name))), meaning(Policy, name))
        for name in Policy.__struct_fields__
        if (name in SHARED) is shared
    ]
    return table(("field", "value", "default", "meaning"), rows)


def _balance() -> str:
    selector = PolicyURLSelector()
    by_name = {"least-loaded": LeastLoadedURLSelector(), **selector._others}
    rows = [(code(f'"{name}"'), prose(type(by_name[name]))) for name in get_args(Balance)]
    return table(("value", "which instance is asked"), rows)


def _off() -> str:
    return table(("field", "value"), [(code(name), code(_shown(getattr(OFF, name)))) for name in OFF.given])


def _settings() -> str:
    hints = get_type_hints(Settings, include_extras=True)
    defaults = Settings()
    rows = [
        (
            code(name),
            "" if name in _TABLES else code(f"MESHCORE_{name.upper()}"),
            _kind(hints[name]),
            _default(getattr(defaults, name)),
            meaning(Settings, name),
        )
        for name in Settings.__struct_fields__
        if name not in _KEPT
    ]
    return table(("setting", "environment", "value", "default", "meaning"), rows)


def _adapters() -> str:
    groups = {REGISTRIES: ("registry", _REGISTRIES), VALUE_SOURCES: ("value_source", _VALUE_SOURCES)}
    rows: list[tuple[str, ...]] = []
    for group, (setting, described) in groups.items():
        installed = {entry.name for entry in entry_points(group=group) if entry.module.startswith("meshcore.")}
        if installed != described.keys():
            raise LookupError(f"{group} are {sorted(installed)}, described are {sorted(described)}")
        rows += [(code(setting), *described[name]) for name in described]
    return table(("setting", "URL", "what it is"), rows)


def _consul_options() -> str:
    """The options of both adapters; their meanings are those of the registry, which has all of them."""
    registry, values = (signature(cls).parameters for cls in (ConsulComponentRegistry, ConsulValueSource))
    defaults = msgspec.structs.asdict(ConsulConfig())
    variables = {**_VARIABLES, "tls": "CONSUL_HTTP_SSL"}

    rows = [
        (
            code(name),
            code(variables[name]) if name in variables else "",
            _default(defaults.get(name, "")),
            meaning(ConsulComponentRegistry, name).replace(" None: ", " Default: "),
        )
        for name in registry
        if name != "address"
    ]
    if unknown := values.keys() - registry.keys() - {"prefix"}:
        raise LookupError(f"no registry has the options {sorted(unknown)} of the value source")
    return table(("option", "environment", "default", "meaning"), rows)


def _kind(hint: Any) -> str:
    """What fits: the text that an error says of it, or the values of a `Literal`."""
    described = [entry.description for entry in get_args(hint) if isinstance(entry, Meta) and entry.description]
    if described:
        return described[0]
    return "one of " + ", ".join(code(f'"{value}"') for value in get_args(hint))


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _default(value: object) -> str:
    return code(_shown(value)) if not isinstance(value, dict) and value != "" else "empty"
