"""The channels that come with meshcore. The mesh finds them, and those of other packages, by entry point."""

from typing import TYPE_CHECKING

from meshcore.core.lazy import lazy_names

if TYPE_CHECKING:
    from .http import HTTPChannel

__all__ = ["HTTPChannel"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, {"http": "HTTPChannel"})
