"""An async implementation behind a plain decorator, which hides that it is async."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Awaitable, Callable

from meshcore import AbstractComponent, Component, Service, component, implementation, module, service


def plainly(function: Callable[..., Awaitable[str]]) -> Callable[..., Awaitable[str]]:
    """A decorator as many write it: a `def` that returns what it is given by the function."""

    @functools.wraps(function)
    def call(*arguments: object) -> Awaitable[str]:
        return function(*arguments)

    return call


@service()
class Decorated(Service):
    @abstractmethod
    async def ask(self, text: str) -> str: ...


@component(services=[Decorated])
class DecoratedComponent(Component): ...


@implementation()
class DecoratedImpl(Decorated):
    @plainly
    async def ask(self, text: str) -> str:
        return f"answer to {text}"


@implementation()
class DecoratedComponentImpl(AbstractComponent, DecoratedComponent): ...


@module()
class DecoratedModule: ...
