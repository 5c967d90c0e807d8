"""The settings of a mesh: checked, then immutable. `mesh.settings_loader` reads them."""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args, get_type_hints

import msgspec
from msgspec import Meta
from msgspec.structs import force_setattr

from meshcore.core.access import AccessRule, read_rules
from meshcore.core.errors import ConfigurationError
from meshcore.core.marks import MISSING
from meshcore.core.masking import without_secrets
from meshcore.core.policy import Policy

FROM_ARGUMENT: Final = "argument"
_SHOWN = 80
_BYTES_OF_ITEM = 8  # a list of numbers of full length has 9 in msgpack

# The descriptions stand in the error message for a value that does not fit.
_Text = Annotated[str, Meta(description="text")]
_Flag = Annotated[bool, Meta(description="true or false")]
_Seconds = Annotated[float, Meta(gt=0, description="a number of seconds above 0")]
_Bytes = Annotated[int, Meta(gt=0, description="a number of bytes above 0")]
_Hosts = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^((\*\.)?[^/:*\s]+|\[?[0-9A-Fa-f:.]+\]?)$")], ...],
    Meta(description='names such as "shop.example" or "*.shop.example", a list or a text with commas'),
]
_Origins = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^(\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+/?)$")], ...],
    Meta(description='origins such as "https://shop.example" or "*", a list or a text with commas'),
]
_Count = Annotated[int, Meta(gt=0, description="a whole number above 0")]
_Weight = Annotated[int, Meta(ge=0, description="a whole number, 0 or more")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a mesh, which its operator chooses. Times are in seconds, sizes in bytes.

    Attributes:
        module: what `meshcore.app:app` and `meshcore run` serve.
        registry: the URL of the registry; its scheme chooses the adapter.
        advertise_url: the URL under which clients reach this process. If it is not set, `meshcore run` and workers of
            hypercorn advertise what they have bound; on all interfaces, this machine's address towards the registry.
        unix_socket: the path of a unix socket at which the server listens as well, for clients of its own machine.
            `meshcore run` binds it; hypercorn is given it as a second `--bind unix:PATH`, and tells the mesh.
        verify_advertise: whether a server announces itself only once its advertised URL leads to it. The log says so if
            it leads elsewhere.
        preferred_channel: the default channel of calls, where the instance offers it. Empty: `stream-msgpack` where all
            instances offer it, else the first that the instance offers and this process knows.
        connections: connections of `stream-msgpack` to each instance. A call takes that with the fewest in flight.
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
        max_items: items in the lists and objects of the largest request or answer that is decoded, where its type does
            not bound their number; 0 for one item for each 8 bytes of `max_body`. See `item_limit`.
        max_concurrency: calls that a server process executes at once. More are refused as not processed.
        max_unsent: bytes of large answers that a server process is sending at once. While there are more, calls are
            refused as not processed. A caller that has not read its answer when the time for its call is up is
            disconnected.
        adaptive_limit: whether a server also refuses calls when their latency or the delay of the event loop shows that
            it is overloaded.
        idempotency_memory: bytes in which a server keeps the outcomes of calls with an idempotency key. The oldest go
            first.
        allowed_origins: origins such as `https://shop.example` whose pages may let browsers send writes, beside the
            server's own; `*` for all.
        allowed_hosts: names by which the server may be called, such as `shop.example` or `*.shop.example`, beside
            addresses, `localhost` and the host of `advertise_url`, without port. Empty: any.
        max_threads: worker threads for implementations that are `def`. Implementations that are called from such a
            thread have as many threads of their own, for each level of nesting.
        drain: seconds that calls in progress may take when a server stops. After that they are cancelled.
        zone: where this process runs, free text. Instances of the caller's own zone are preferred.
        version: the version of what is served, free text.
        weight: this process's share of the calls, relative to the weights of the other instances. With 0 it gets none.
        identity: where this process gets its certificate and the roots that it trusts: the URL of an identity source,
            whose scheme chooses the adapter; `none` for no TLS of the mesh.
        mutual_tls: with an identity, whether a server requires TLS and a certificate of its clients: `strict`, or
            `permissive`, which also takes clear text and clients without one while a team migrates. `strict` also
            keeps this process from calling instances in clear text, unless the operator has written their addresses.
        authorization: what becomes of a call that its caller may not make, by `@allow` and by rules: `enforce` refuses
            it, `audit` only counts and logs it; `consul`, or the URL of an agent, also asks Consul's intentions; `off`
            judges nothing.
        rules: tables that allow or deny methods to callers, beside what the interfaces say.
        rules_key: a key of the value source with more rules, as a list in JSON. They are followed while the process
            runs. Empty: none.
        operators: who may read `/report`, `/metrics`, `/mesh` and the documents: everybody (`open`), those who have
            proven an identity by a certificate (`proven`), those whom rules allow the path (`rules`), or only those who
            have proven to be a component of this process (`closed`). Default: `open` without an identity, `proven` with
            one.
        tls_minimum: the oldest version of TLS that is spoken.
        documents: whether a server serves `/openapi.json` and `/docs`.
        metrics: the path at which a server tells Prometheus its metrics; empty for none. A method with that path has
            it for itself.
        page: whether a server shows the mesh to people at `/mesh`: "off", "read-only", or "full", with which they can
            try calls out. A method with that path has it for itself.
        show_arguments: whether those who look at single calls, with `meshcore tap` or `Mesh.last_calls`, see their
            arguments, except those marked `Secret`.
        traces: what this process does with traces: `propagate` passes their headers on, `begin` also begins one for
            calls that belong to none, `opentelemetry` records spans.
        meter: whom this process tells its metrics, beside the path `metrics`: `opentelemetry`, or empty for nobody.
        log_format: how `meshcore run` logs: text, or one JSON object per line.
        access_log: whether a server logs a line for each call that it serves.
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
    unix_socket: _Text = ""
    verify_advertise: _Flag = True
    preferred_channel: _Text = ""
    connections: Annotated[int, Meta(ge=1, le=64, description="a whole number from 1 to 64")] = 1
    timeout: _Seconds = 10.0
    resilience: _Flag = True
    policies: Annotated[dict[str, Policy], Meta(description="a table of tables")] = {}
    max_calls: _Count = 10_000
    request_timeout: _Seconds = 60.0
    max_body: _Bytes = 4 * 1024 * 1024
    # The codecs' own limit is CPython's: 1,000 frames on 3.11, less what the caller uses.
    max_depth: Annotated[int, Meta(ge=1, le=500, description="a whole number from 1 to 500")] = 128
    max_items: Annotated[int, Meta(ge=0, description="a whole number from 0")] = 0
    max_concurrency: _Count = 1000
    max_unsent: _Bytes = 128 * 1024 * 1024
    adaptive_limit: _Flag = True
    idempotency_memory: _Bytes = 16 * 1024 * 1024
    allowed_origins: _Origins = ()
    allowed_hosts: _Hosts = ()
    max_threads: _Count = 40
    drain: Annotated[float, Meta(ge=0, le=86_400, description="a number of seconds from 0 to 86400")] = 20.0
    zone: _Text = ""
    version: _Text = ""
    weight: _Weight = 1
    identity: Annotated[
        str, Meta(pattern=r"^(none|[a-z][\w+.-]*:.*)$", description='"none", or a URL such as "files:/path"')
    ] = "none"
    mutual_tls: Annotated[str, Meta(pattern=r"^(strict|permissive)$", description='"strict" or "permissive"')] = (
        "strict"
    )
    authorization: Annotated[
        str,
        Meta(pattern=r"^(enforce|audit|off|consul(:.*)?)$", description='"enforce", "audit", "consul" or "off"'),
    ] = "enforce"
    rules: Annotated[tuple[AccessRule, ...], Meta(description="a list of tables")] = ()
    rules_key: Annotated[
        str, Meta(pattern=r"^[^\s/]*$", description='a dotted key such as "authorization.rules", or empty')
    ] = ""
    operators: Annotated[
        str,
        Meta(
            pattern=r"^(|open|proven|rules|closed)$",
            description='"open", "proven", "rules", "closed", or empty for the default',
        ),
    ] = ""
    tls_minimum: Annotated[str, Meta(pattern=r"^1\.[23]$", description='"1.3" or "1.2"')] = "1.3"
    documents: _Flag = True
    metrics: Annotated[str, Meta(pattern=r"^(/[^\s?#{}]*)?$", description='a path such as "/metrics", or empty')] = (
        "/metrics"
    )
    page: Annotated[str, Meta(pattern=r"^(off|read-only|full)$", description='"off", "read-only" or "full"')] = "off"
    show_arguments: _Flag = False
    traces: Annotated[
        str,
        Meta(pattern=r"^(propagate|begin|opentelemetry)$", description='"propagate", "begin" or "opentelemetry"'),
    ] = "propagate"
    meter: Annotated[str, Meta(pattern=r"^(opentelemetry)?$", description='"opentelemetry" or empty')] = ""
    log_format: Annotated[str, Meta(pattern=r"^(text|json)$", description='"text" or "json"')] = "text"
    access_log: _Flag = False
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
        force_setattr(self, "rules", read_rules(self.rules))
        problems = [
            f"{name} must be {expected_setting(name)}, got {shown_setting(value)}"
            for name in SETTING_NAMES
            if converted_setting(name, value := getattr(self, name), strict=True) is MISSING
        ]
        if problems:
            raise ConfigurationError("These settings cannot be used", problems)
        for name in _LISTS:
            force_setattr(self, name, converted_setting(name, getattr(self, name), strict=True))

    @property
    def item_limit(self) -> int:
        """The setting `max_items`, or its default."""
        return self.max_items or max(self.max_body // _BYTES_OF_ITEM, 1)

    def __repr__(self) -> str:
        """The fields without passwords and tokens. Values and environment are left out: they may hold secrets."""
        fields = ", ".join(f"{name}={_masked(getattr(self, name))}" for name in SETTING_NAMES if name != "values")
        return f"Settings({fields}, values=<{len(self.values)} keys>)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for rich, which would read the fields itself."""
        return [(name, _masked(getattr(self, name))) for name in SETTING_NAMES if name != "values"]

    def lookup(self, key: str) -> Any:
        """The unconverted value for `@inject_value(key)`, `MISSING` if there is none.

        For "orders.currency" it is the argument of that name, else the environment variable ORDERS_CURRENCY, else the
        value in the files. Dots and dashes become underscores in the variable's name.
        """
        from_argument = self.sources.get(f"values.{key}") == FROM_ARGUMENT
        variable = key.replace(".", "_").replace("-", "_").upper()
        if not from_argument and variable in self.environ:
            return self.environ[variable]
        return self.values.get(key, MISSING)


SETTING_NAMES: Final = tuple(name for name in Settings.__struct_fields__ if name not in {"sources", "environ"})
_TYPES: Final = get_type_hints(Settings, include_extras=True)
_LISTS: Final = frozenset(name for name, hint in _TYPES.items() if hint in {_Hosts, _Origins})


def converted_setting(name: str, value: object, *, strict: bool) -> Any:
    """The value converted to the field's type, MISSING if it does not fit."""
    if isinstance(value, str) and name in _LISTS:  # as environment variables have it
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, _TYPES[name], strict=strict)
    except msgspec.ValidationError:
        return MISSING


def expected_setting(name: str) -> str:
    """What the setting has to be, for a message."""
    return next(entry.description for entry in get_args(_TYPES[name]) if isinstance(entry, Meta) and entry.description)


def _masked(value: object) -> str:
    return without_secrets(repr(value))


def shown_setting(value: object) -> str:
    """The value for a message: without secrets, cut."""
    text = _masked(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
