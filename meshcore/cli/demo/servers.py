"""The server processes of the demo."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(eq=False)
class DemoServer:
    """A server process.

    Attributes:
        present: set when the registry has it.
        absent: set when the registry has it no more.
        killed: when it was, on `time.monotonic()`.
        identity: what the ids of its components' instances end with.
    """

    label: str
    url: str
    log: Path
    process: asyncio.subprocess.Process
    present: asyncio.Event = field(default_factory=asyncio.Event)
    absent: asyncio.Event = field(default_factory=asyncio.Event)
    killed: float = 0.0
    identity: str = ""
