"""Decorators and base classes for declarations, and the reader that makes descriptions from them."""
