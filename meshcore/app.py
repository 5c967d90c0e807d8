"""The composition root: `hypercorn meshcore.app:app` serves the module that the settings name.

Nothing is read, imported or built before the server starts the application.
"""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING

from meshcore.core.errors import ConfigurationError
from meshcore.core.lazy import uncollected

if TYPE_CHECKING:
    from meshcore.asgi.messages import Receive, Scope, Send
    from meshcore.serve.mesh_app import MeshApp

log = logging.getLogger(__name__)


class LazyApp:
    """The ASGI application; it becomes a `MeshApp` when the server announces the lifespan."""

    def __init__(self) -> None:
        self._app: MeshApp | None = None

    def _build(self) -> str:
        """Make the application; else say why not."""
        with uncollected():
            from meshcore.mesh.settings_loader import load_settings
            from meshcore.serve.mesh_app import MeshApp
            from meshcore.serve.module_loader import load_module
            from meshcore.serve.upgrades import ignore_upgrades

            try:
                settings = load_settings()
                self._app = MeshApp(load_module(settings), settings=settings)
                ignore_upgrades()
            except ConfigurationError as error:
                log.error("cannot start: %s", error.message)  # noqa: TRY400 - the text says it all
                return error.message
        gc.freeze()  # what is loaded stays until the process ends
        return ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI callable."""
        if self._app is None:
            if scope["type"] != "lifespan":
                raise RuntimeError("meshcore.app:app needs a server that supports the ASGI lifespan")
            reason = self._build()
            if self._app is None:
                await receive()
                # Outside of the except clause, so that the server's traceback does not show ours as well.
                await send({"type": "lifespan.startup.failed", "message": reason})
                return
        await self._app(scope, receive, send)


app = LazyApp()
