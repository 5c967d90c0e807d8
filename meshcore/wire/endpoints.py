"""The paths that every server answers."""

from __future__ import annotations

RESERVED_PATHS = (("POST", "/invoke"), ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/report"), ("GET", "/contract"))

INVOKE = "/invoke"

OPENAPI, DOCS = "/openapi.json", "/docs"
