"""The client's module for `interop`."""

from __future__ import annotations

from meshcore import module
from tests.support.interop import InteropComponent


@module(components=[InteropComponent])
class InteropClient: ...
