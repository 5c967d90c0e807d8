"""Finds channels and registries by name in the entry points of installed packages; loads what is used."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from meshcore.errors import Code, LocalError
from meshcore.ports import Channel, ComponentRegistry
from meshcore.suggest import did_you_mean

CHANNELS = "meshcore.channels"
REGISTRIES = "meshcore.registries"


def installed_channels() -> dict[str, EntryPoint]:
    """The channels of installed packages by name."""
    return {entry.name: entry for entry in entry_points(group=CHANNELS)}


def load_channel(entry: EntryPoint) -> type[Channel]:
    """The channel class that an entry point names.

    Raises:
        LocalError: it names something else.
    """
    cls = entry.load()
    if not (isinstance(cls, type) and issubclass(cls, Channel)):
        raise LocalError(
            Code.FAILED_PRECONDITION, f"entry point {CHANNELS}: {entry.name} = {entry.value} is no channel"
        )
    return cls


def make_registry(url: str) -> ComponentRegistry:
    """The registry that a setting describes.

    Raises:
        ValueError: it describes none; the text says why.
    """
    scheme = url.partition(":")[0].lower()
    entries = {entry.name: entry for entry in entry_points(group=REGISTRIES)}
    entry = entries.get(scheme)
    if entry is None:
        raise ValueError(f"no registry {scheme!r} for {url!r}{did_you_mean(scheme, entries)}")
    cls = entry.load()
    if not (isinstance(cls, type) and issubclass(cls, ComponentRegistry)):
        text = f"entry point {REGISTRIES}: {entry.name} = {entry.value} is no registry"
        raise ValueError(text)  # noqa: TRY004 - like any other setting that does not fit
    return cls.from_url(url)
