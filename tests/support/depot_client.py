"""The client's module for `depot`: it must not stand beside the implementations, which would then be its own."""

from __future__ import annotations

from meshcore import module
from tests.support.depot import DepotComponent


@module(components=[DepotComponent])
class DepotClient: ...
