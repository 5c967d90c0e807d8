"""Finds adapters of the ports in the entry points of installed packages. Loads those that are used."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from meshcore.core.errors import Code, LocalError
from meshcore.core.masking import without_secrets
from meshcore.core.suggest import did_you_mean
from meshcore.ports.channel import Channel
from meshcore.ports.identity import IdentitySource
from meshcore.ports.intentions import IntentionSource
from meshcore.ports.registry import ComponentRegistry
from meshcore.ports.values import ValueSource

CHANNELS = "meshcore.channels"
REGISTRIES = "meshcore.registries"
VALUE_SOURCES = "meshcore.value_sources"
IDENTITIES = "meshcore.identities"
INTENTIONS = "meshcore.intentions"

_SECURITY = frozenset({"cryptography"})
"""The modules that the extra `security` brings, and identity sources need."""


def installed_channels() -> dict[str, EntryPoint]:
    """Return the channels of installed packages, by name."""
    return {entry.name: entry for entry in entry_points(group=CHANNELS)}


def load_channel(entry: EntryPoint) -> type[Channel]:
    """Load the channel class of an entry point.

    Raises:
        LocalError: it is not a channel class.
    """
    cls = entry.load()
    if not (isinstance(cls, type) and issubclass(cls, Channel)):
        raise LocalError(
            Code.FAILED_PRECONDITION, f"entry point {CHANNELS}: {entry.name} = {entry.value} is not a channel"
        )
    return cls


def make_registry(url: str) -> ComponentRegistry:
    """Make the registry of the setting `registry`.

    Raises:
        ValueError: there is no such registry, or the URL is invalid.
    """
    registry: type[ComponentRegistry] = _load(url, REGISTRIES, ComponentRegistry, "registry")
    return registry.from_url(url)


def make_value_source(url: str) -> ValueSource:
    """Make the value source of the setting `value_source`.

    Raises:
        ValueError: there is no such value source, or the URL is invalid.
    """
    source: type[ValueSource] = _load(url, VALUE_SOURCES, ValueSource, "value source")
    return source.from_url(url)


def make_identity_source(url: str, registry: str = "") -> IdentitySource:
    """Make the source of the setting `identity`, which is not `none`.

    Args:
        url: the setting. A scheme alone, such as `consul:`, means the server of a registry with the same scheme.
        registry: the setting `registry`.

    Raises:
        ValueError: there is no such source, or the URL is invalid.
    """
    try:
        source: type[IdentitySource] = _load(url, IDENTITIES, IdentitySource, "identity source")
    except ModuleNotFoundError as error:
        if error.name not in _SECURITY:
            raise
        text = f'{without_secrets(url)!r} needs the package {error.name}: install "meshcore-runtime[security]"'
        raise ValueError(text) from None
    return source.from_url(_beside(url, registry))


def make_intention_source(url: str, registry: str = "") -> IntentionSource:
    """Make an intention source. The arguments are those of `make_identity_source`.

    Raises:
        ValueError: there is no such source, or the URL is invalid.
    """
    source: type[IntentionSource] = _load(url, INTENTIONS, IntentionSource, "intention source")
    return source.from_url(_beside(url, registry))


def _beside(url: str, registry: str) -> str:
    """Return the URL of the registry for a URL that is only a scheme, if both have the same one."""
    scheme, _, rest = url.partition(":")
    return url if rest or registry.partition(":")[0].lower() != scheme.lower() else registry


def _load(url: str, group: str, port: type[Any], noun: str) -> Any:
    """Load the class for the scheme of a URL."""
    scheme = url.partition(":")[0].lower()
    entries = {entry.name: entry for entry in entry_points(group=group)}
    entry = entries.get(scheme)
    if entry is None:
        raise ValueError(f"no {noun} {scheme!r} for {without_secrets(url)!r}{did_you_mean(scheme, entries)}")
    cls = entry.load()
    if not (isinstance(cls, type) and issubclass(cls, port)):
        text = f"entry point {group}: {entry.name} = {entry.value} is not a {noun}"
        raise ValueError(text)  # noqa: TRY004 - like any other setting that does not fit
    return cls
