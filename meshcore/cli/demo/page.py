"""The applications with the live page of the demonstration, which kills and starts servers, over a socket."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Final

import msgspec

from meshcore.core.errors import Code, LocalError
from meshcore.core.settings import Settings
from meshcore.declare.injection import module
from meshcore.mesh.settings_loader import load_settings
from meshcore.serve.mesh_app import MeshApp
from meshcore.serve.module_loader import load_module
from meshcore.serve.upgrades import ignore_upgrades

CONTROL: Final = "DEMO_CONTROL"
"""The variable with the path of the socket. Nothing but this application reads it."""

_PATIENCE = 5.0
"""Seconds for an answer of the demonstration."""


async def ask(socket: str, what: str, instance: str) -> None:
    """Ask the demonstration to kill or to start a server.

    Args:
        socket: its path.
        what: "kill" or "start".
        instance: the id of an instance: the one to kill, or one of the component to start.

    Raises:
        LocalError: it has ended, or there is no such server.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(f"{what} {instance}\n".encode())
                said = (await reader.readline()).decode().strip()
            finally:
                writer.close()
    except OSError as error:
        raise LocalError(Code.UNAVAILABLE, f"the demonstration does not answer: {error}") from None
    if said != "ok":
        raise LocalError(Code.FAILED_PRECONDITION, said or "the demonstration has ended")


@module()
class ViewerModule:
    """Serves nothing: it only looks."""


def make_app() -> MeshApp:
    """Make the application of a server from the settings and `CONTROL`."""
    settings = load_settings()
    return _with_page(load_module(settings), settings)


def make_viewer() -> MeshApp:
    """Make one that only shows the page, for a mesh with identities.

    The browser has no certificate of the mesh. So this process has one, looks with it, and serves the browser in clear
    text at an address of this machine. The servers admit nobody without a certificate.
    """
    return _with_page(ViewerModule, load_settings({"operators": "open", "mutual_tls": "permissive"}))


def _with_page(served: type, settings: Settings) -> MeshApp:
    settings = msgspec.structs.replace(settings, page="full")
    app = MeshApp(served, settings=settings)
    app.control = partial(ask, os.environ[CONTROL])
    ignore_upgrades()
    return app
