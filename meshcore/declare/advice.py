"""Advice: wraps methods of objects that the injector makes (aspect-oriented programming)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, overload

import msgspec

from meshcore.core.marks import find_mark
from meshcore.declare.decorators import is_bare, mark_class, mark_function, refuse_bare
from meshcore.declare.injection import InjectableMark

C = TypeVar("C", bound=type)

F = TypeVar("F", bound=Callable[..., Any])

Condition = Callable[[type, str, FunctionType], bool]


class AdviceMark(InjectableMark, frozen=True):
    """The mark of `@advice`."""


class Methods(msgspec.Struct, frozen=True):
    """Selects methods. All conditions must hold."""

    conditions: tuple[Condition, ...] = ()

    def named(self, *names: str) -> Methods:
        """Methods of one of these names."""
        return self._and(lambda _cls, name, _function: name in names)

    def matches(self, pattern: str) -> Methods:
        """Methods whose whole name matches the regular expression."""
        found = re.compile(pattern)
        return self._and(lambda _cls, name, _function: found.fullmatch(name) is not None)

    def of_type(self, cls: type) -> Methods:
        """Methods of instances of the class, also those that its base classes define."""
        return self._and(lambda owner, _name, _function: cls in owner.__mro__)

    def that_are_async(self) -> Methods:
        """Methods that are `async def`, but not async generators."""
        return self._and(lambda _cls, _name, function: inspect.iscoroutinefunction(function))

    def that_are_sync(self) -> Methods:
        """Methods that are not `async def`."""
        return self._and(lambda _cls, _name, function: not inspect.iscoroutinefunction(function))

    def decorated_with(self, mark: type) -> Methods:
        """Methods that have a mark of that type, on themselves or on the method of a base class."""
        return self._and(
            lambda cls, name, _function: any(find_mark(vars(base).get(name), mark) is not None for base in cls.__mro__)
        )

    def choose(self, cls: type, name: str, function: FunctionType) -> bool:
        """Whether a method of a class is selected."""
        return all(condition(cls, name, function) for condition in self.conditions)

    def _and(self, condition: Condition) -> Methods:
        return Methods((*self.conditions, condition))


class AroundMark(msgspec.Struct, frozen=True):
    """The mark of `@around`."""

    target: Methods


class Invocation:
    """One call of an advised method.

    Attributes:
        instance: the object whose method is called.
        method: the method's function as its class defines it.
        args: the positional arguments; the first is the instance.
        kwargs: the keyword arguments.
    """

    __slots__ = ("_next", "args", "instance", "kwargs", "method")

    def __init__(
        self,
        instance: object,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        next_: Callable[..., Any],
    ) -> None:
        self.instance = instance
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self._next = next_

    def proceed(self, *args: Any, **kwargs: Any) -> Any:
        """Call the next advice, or the method itself. For an async method it returns an awaitable.

        Positional arguments replace all those of the call, except the instance. Keyword arguments are added to those
        of the call, or replace them.
        """
        return self._next(*(args or self.args[1:]), **{**self.kwargs, **kwargs})


@overload
def advice(cls: C) -> C: ...


@overload
def advice() -> Callable[[C], C]: ...


def advice(cls: C | None = None) -> C | Callable[[C], C]:
    """Declare a class whose `@around` methods wrap methods of injected objects. The class is injectable itself."""
    decorate = mark_class("advice", lambda _: AdviceMark())
    if cls is None:
        return decorate
    is_bare(cls, "advice", AdviceMark)
    return decorate(cls)


def around(target: Methods) -> Callable[[F], F]:
    """Call a method of an `@advice` class in place of each method that the target selects. It takes an `Invocation`.

    Args:
        target: begins with `methods()`.
    """
    refuse_bare("around", target, '@around(methods().named("method"))')
    return mark_function("around", AroundMark(target))


def methods() -> Methods:
    """Select methods for `around`: `methods().named("customize").of_type(Channel)`. All conditions must hold."""
    return Methods()
