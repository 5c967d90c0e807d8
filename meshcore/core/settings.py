"""Settings of a mesh: read once from files, environment and arguments, then immutable."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, cast, get_args, get_type_hints

import msgspec
from msgspec import Meta

from meshcore.core.errors import ConfigurationError, LocalError
from meshcore.core.marks import MISSING
from meshcore.core.masking import without_secrets
from meshcore.core.policy import Policy, read_policy

_PREFIX = "MESHCORE_"
_ARGUMENT = "argument"
_SHOWN = 80

# The descriptions stand in the error message for a value that does not fit.
_Text = Annotated[str, Meta(description="text")]
_Flag = Annotated[bool, Meta(description="true or false")]
_Seconds = Annotated[float, Meta(gt=0, description="a number of seconds above 0")]
_Bytes = Annotated[int, Meta(gt=0, description="a number of bytes above 0")]
_Count = Annotated[int, Meta(gt=0, description="a whole number above 0")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a mesh, which its operator chooses. Times are in seconds, sizes in bytes.

    Attributes:
        module: what `meshcore.app:app` and `meshcore run` serve.
        registry: the URL of the registry; its scheme chooses the adapter.
        advertise_url: the URL under which clients reach this process. The default is hypercorn's own default bind.
        verify_advertise: whether a server announces itself only once its advertised URL leads to it. The log says so if
            it leads elsewhere.
        preferred_channel: the default channel of calls, where the instance offers it. Empty: the first that the
            instance offers and this process knows.
        timeout: seconds that a call to another process may take if the caller gives no deadline and no policy sets a
            timeout; `inf` for no bound.
        resilience: whether failed and slow calls are repeated, and failing instances ejected. `false` overrules all
            policies.
        policies: tables of the fields of `Policy`, by the name of a component, of a service, or of a method as
            `service.method`. They take precedence over what the interface says.
        max_calls: calls to other processes that may be in flight at once. More are refused.
        request_timeout: seconds that a server grants to one request, even if the caller grants more; `inf` for no
            bound.
        max_body: bytes of the largest request or answer that is read.
        max_depth: levels of the deepest request or answer that is decoded.
        max_concurrency: calls that a server process executes at once. More are refused as not processed.
        adaptive_limit: whether a server also refuses calls when their latency or the delay of the event loop shows that
            it is overloaded.
        idempotency_memory: bytes in which a server keeps the outcomes of calls with an idempotency key. The oldest go
            first.
        max_threads: worker threads for implementations that are `def`. Implementations that are called from such a
            thread have as many threads of their own, for each level of nesting.
        drain: seconds that calls in progress may take when a server stops. After that they are cancelled.
        zone: where this process runs, free text. Instances of the caller's own zone are preferred.
        version: the version of what is served, free text.
        weight: this process's share of the calls, relative to the weights of the other instances.
        documents: whether a server serves `/openapi.json` and `/docs`.
        log_format: how `meshcore run` logs: text, or one JSON object per line.
        debug: whether callers get the tracebacks of the server's errors, and logs are detailed.
        value_source: the URL of the source of values that `@inject_value` asks for keys that neither the environment
            nor `values` has; its scheme chooses the adapter. Empty: none.
        values: values for `@inject_value`. Nested tables are flattened to dotted keys.
        sources: where each field, and each of the values as `values.KEY`, came from.
        environ: the environment at the time of loading; `lookup` reads it.
    """

    module: Annotated[str, Meta(pattern=r"^([\w.]+:[\w.]+)?$", description='"package.module:Class"')] = ""
    registry: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z][\w+.-]*:", description='a registry URL such as "directory:" or "consul://host:8500"'),
    ] = "directory:"
    advertise_url: Annotated[
        str, Meta(pattern=r"^https?://[^\s/?#]+[^\s?#]*$", description='a URL such as "http://host:8000"')
    ] = "http://127.0.0.1:8000"
    verify_advertise: _Flag = True
    preferred_channel: _Text = ""
    timeout: _Seconds = 10.0
    resilience: _Flag = True
    policies: Annotated[dict[str, Policy], Meta(description="a table of tables")] = {}
    max_calls: _Count = 10_000
    request_timeout: _Seconds = 60.0
    max_body: _Bytes = 4 * 1024 * 1024
    # The codecs' own limit is CPython's: 1,000 frames on 3.11, less what the caller uses.
    max_depth: Annotated[int, Meta(ge=1, le=500, description="a whole number from 1 to 500")] = 128
    max_concurrency: _Count = 1000
    adaptive_limit: _Flag = True
    idempotency_memory: _Bytes = 16 * 1024 * 1024
    max_threads: _Count = 40
    drain: Annotated[float, Meta(ge=0, le=86_400, description="a number of seconds from 0 to 86400")] = 20.0
    zone: _Text = ""
    version: _Text = ""
    weight: _Count = 1
    documents: _Flag = True
    log_format: Annotated[str, Meta(pattern=r"^(text|json)$", description='"text" or "json"')] = "text"
    debug: _Flag = False
    value_source: Annotated[
        str, Meta(pattern=r"^([A-Za-z][\w+.-]*:.*)?$", description='a URL such as "consul://host:8500/prefix"')
    ] = ""
    values: Annotated[dict[str, Any], Meta(description="a table")] = {}
    sources: dict[str, str] = {}
    environ: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Check the values; msgspec does so only when it decodes.

        Raises:
            ConfigurationError: with every field that does not fit.
        """
        problems = [
            f"{name} must be {_expected(name)}, got {_shown(value)}"
            for name in _NAMES
            if _convert(name, value := getattr(self, name), strict=True) is MISSING
        ]
        if problems:
            raise ConfigurationError("These settings cannot be used", problems)

    def __repr__(self) -> str:
        """The fields without passwords and tokens. Values and environment are left out: they may hold secrets."""
        fields = ", ".join(f"{name}={_masked(getattr(self, name))}" for name in _NAMES if name != "values")
        return f"Settings({fields}, values=<{len(self.values)} keys>)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for rich, which would read the fields itself."""
        return [(name, _masked(getattr(self, name))) for name in _NAMES if name != "values"]

    def lookup(self, key: str) -> Any:
        """The unconverted value for `@inject_value(key)`, `MISSING` if there is none.

        For "orders.currency" it is the argument of that name, else the environment variable ORDERS_CURRENCY, else the
        value in the files. Dots and dashes become underscores in the variable's name.
        """
        from_argument = self.sources.get(f"values.{key}") == _ARGUMENT
        variable = key.replace(".", "_").replace("-", "_").upper()
        if not from_argument and variable in self.environ:
            return self.environ[variable]
        return self.values.get(key, MISSING)


_NAMES: Final = tuple(name for name in Settings.__struct_fields__ if name not in {"sources", "environ"})
_TYPES: Final = get_type_hints(Settings, include_extras=True)


def load_settings(
    arguments: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    directory: Path | None = None,
) -> Settings:
    """Read the settings: defaults, then `[tool.meshcore]` of pyproject.toml, meshcore.toml, environment, arguments.

    Later sources win, key by key. Both files are read if both exist: `Settings.sources` says where each value comes
    from. An empty environment variable and an argument that is None count as not given.

    Args:
        arguments: values by field name, already typed.
        environ: variables are named `MESHCORE_` and the field in upper case. Also kept for `Settings.lookup`.
        directory: the folder of the files, by default the working directory. Its parents are not searched.

    Raises:
        ConfigurationError: with every unknown key, every value that does not fit and every file that cannot be read,
            each with its source.
    """
    loading = _Loading()
    directory = directory or Path.cwd()
    loading.take_file(directory / "pyproject.toml", "tool.meshcore")
    loading.take_file(directory / "meshcore.toml")
    loading.take_environment(environ)
    for name, value in (arguments or {}).items():
        if value is not None:
            loading.take(name, value, _ARGUMENT)
    if loading.problems:
        raise ConfigurationError("The settings cannot be used", loading.problems)
    return Settings(**loading.fields, values=loading.values, sources=loading.sources, environ=dict(environ))


class _Loading:
    """The settings that have been read so far. Later sources overwrite earlier ones."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.sources = dict.fromkeys(_NAMES, "default")
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
            self.problems.append(f"{source}: must be a table, got {_shown(content)}")
            return
        for name, value in cast("dict[str, object]", content).items():
            self.take(name, value, source)

    def take_environment(self, environ: Mapping[str, str]) -> None:
        """Read the variables that begin with MESHCORE_."""
        for variable in sorted(environ):
            name = variable.removeprefix(_PREFIX).lower()
            if not variable.startswith(_PREFIX) or not environ[variable]:
                continue
            if name == "policies":
                self.problems.append(f"environment {variable}: policies are tables; write them in meshcore.toml")
            elif name == "values":
                self.problems.append(
                    f"environment {variable}: values have variables of their own: "
                    'ORDERS_CURRENCY is @inject_value("orders.currency")'
                )
            elif name not in _NAMES:
                self.problems.append(f"environment {variable}: no such setting{_hint(name, _PREFIX, str.upper)}")
            else:
                self.take(name, environ[variable], f"environment {variable}", strict=False)

    def take(self, name: str, value: object, source: str, *, strict: bool = True) -> None:
        """Check and keep one setting."""
        if name not in _NAMES:
            self.problems.append(f"{source}: {name}: no such setting{_hint(name)}")
            return
        if name == "policies":
            self._take_policies(value, source)
            return
        converted = _convert(name, value, strict=strict)
        if converted is MISSING:
            self.problems.append(f"{source}: {name} must be {_expected(name)}, got {_shown(value)}")
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
            self.problems.append(f"{source}: policies must be {_expected('policies')}, got {_shown(value)}")
            return
        found = self.fields.setdefault("policies", {})
        self.sources["policies"] = source
        for key, table in cast("dict[str, Any]", value).items():
            if isinstance(table, Policy):
                found[key] = table
            elif not isinstance(table, dict):
                self.problems.append(f"{source}: policies.{key} must be a table, got {_shown(table)}")
            else:
                try:
                    found[key] = read_policy(cast("dict[str, Any]", table))
                except LocalError as error:
                    self.problems.append(f"{source}: policies.{key}: {error.message}")


def _convert(name: str, value: object, *, strict: bool) -> Any:
    """The value converted to the field's type, MISSING if it does not fit."""
    try:
        return msgspec.convert(value, _TYPES[name], strict=strict)
    except msgspec.ValidationError:
        return MISSING


def _expected(name: str) -> str:
    return next(entry.description for entry in get_args(_TYPES[name]) if isinstance(entry, Meta) and entry.description)


def _masked(value: object) -> str:
    return without_secrets(repr(value))


def _shown(value: object) -> str:
    text = _masked(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _hint(name: str, prefix: str = "", spell: Any = str) -> str:
    close = get_close_matches(name.replace("-", "_"), _NAMES, n=1)
    return f"; did you mean {prefix}{spell(close[0])}?" if close else f"; there are {', '.join(_NAMES)}"


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested tables under dotted keys; a list is a leaf."""
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flatten(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            yield prefix + key, value
