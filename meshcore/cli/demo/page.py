"""The application of a server of the demonstration. Its live page kills and starts servers, over a socket."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Final

import msgspec

from meshcore.core.errors import Code, LocalError
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


def make_app() -> MeshApp:
    """Make the application from the settings and `CONTROL`."""
    settings = msgspec.structs.replace(load_settings(), page="full")
    app = MeshApp(load_module(settings), settings=settings)
    app.control = partial(ask, os.environ[CONTROL])
    ignore_upgrades()
    return app
