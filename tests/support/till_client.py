"""The client's side of `till`; it must not stand beside the implementations, which would then be its own."""

from __future__ import annotations

from pathlib import Path

from meshcore import Mesh, load_settings, module
from tests.support.till import TillComponent

STREAMED = "stream-msgpack"
CHANNELS = ("dispatch-json", "dispatch-msgpack", "rest", STREAMED)


@module(components=[TillComponent])
class TillClient: ...


def calling(folder: Path, *urls: str, **arguments: object) -> Mesh:
    """A mesh that knows these instances, each over all channels.

    Args:
        folder: where no other settings are.
        urls: of the instances.
        arguments: further settings.
    """
    addresses = ",".join(f"{channel}({url})" for url in urls for channel in CHANNELS)
    settings = load_settings({"registry": f"static:till={addresses}", **arguments}, environ={}, directory=folder)
    return Mesh(TillClient, settings=settings)
