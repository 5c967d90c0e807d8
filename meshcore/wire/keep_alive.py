"""The header in which a server says how long it keeps idle connections."""

from __future__ import annotations

import re
from typing import Final

KEEP_ALIVE: Final = "keep-alive"
"""On answers: `timeout=2` says after how many idle seconds the server closes the connection (RFC 2068, 19.7.1.1)."""

USUAL_KEEP_ALIVE: Final = 5.0
"""Seconds after which servers close idle connections, if they do not say. The default of hypercorn and uvicorn."""

_TIMEOUT = re.compile(r"(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,9}(?:\.\d+)?)", re.IGNORECASE)


def write_keep_alive(seconds: float) -> str:
    """The value of `KEEP_ALIVE`. Fractions are our own: the header has whole seconds."""
    return f"timeout={round(seconds, 3):.9g}"


def read_keep_alive(value: str) -> float:
    """The seconds after which a server closes idle connections; `USUAL_KEEP_ALIVE` if it does not say."""
    found = _TIMEOUT.search(value)
    return float(found[1]) if found else USUAL_KEEP_ALIVE
