"""Calls the first version."""

from meshcore import module

from .version_1 import Shop


@module(components=[Shop])
class Client: ...
