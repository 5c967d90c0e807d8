"""The client's module for `doors`."""

from __future__ import annotations

from meshcore import module
from tests.support.doors import Doors


@module(components=[Doors])
class DoorsClient: ...
