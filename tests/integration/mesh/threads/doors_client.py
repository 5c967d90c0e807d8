"""The client's module for `doors`."""

from __future__ import annotations

from meshcore import module
from tests.integration.mesh.threads.doors import Doors


@module(components=[Doors])
class DoorsClient: ...
