"""The channels that come with meshcore. The mesh finds them, and others, by entry point."""

from .http import HTTPChannel

__all__ = ["HTTPChannel"]
