"""The client's module for `probe`: it must not stand beside the implementations, which would then be its own."""

from __future__ import annotations

from meshcore import module
from tests.support.probe import ProbeComponent


@module(components=[ProbeComponent])
class ProbeClient: ...
