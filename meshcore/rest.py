"""REST routes generated from interfaces."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute

from meshcore.interface import ComponentDescription
from meshcore.server import Server


def rest_routes(
    server: Server, components: Iterable[ComponentDescription], *, max_body: int, max_depth: int
) -> list[BaseRoute]:
    """One route per mapped method."""
    return []
