"""The client's module for `ledger`: it must not stand beside the implementations, which would then be its own."""

from __future__ import annotations

from meshcore import module
from tests.support.ledger import LedgerComponent


@module(components=[LedgerComponent])
class LedgerClient: ...
