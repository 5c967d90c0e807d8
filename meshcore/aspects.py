"""Advice: code around methods of what the injector creates.

    @advice
    class ChannelAdvice:
        @around(methods().named("customize").of_type(Channel))
        def customize(self, invocation: Invocation) -> object:
            cast(Channel, invocation.args[0]).select_first_url()
            return invocation.proceed()

A matching method is replaced on the instance, not on its class: calls from inside the class are advised too, two meshes
share nothing, and a method that nothing matches costs nothing. Several advices apply in the order of their modules; the
first is outermost.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, TypeVar, overload

import msgspec

from meshcore.injection import InjectableMark
from meshcore.marks import add_mark, find_mark
from meshcore.recipes import marked_methods, takes_one

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

Condition = Callable[[type, str, FunctionType], bool]


class AdviceMark(InjectableMark, frozen=True):
    """Left by `@advice`."""


class Methods(msgspec.Struct, frozen=True):
    """Chooses methods. Every condition that is added has to hold."""

    conditions: tuple[Condition, ...] = ()

    def named(self, *names: str) -> Methods:
        """Methods of one of these names."""
        return self._and(lambda _cls, name, _function: name in names)

    def matches(self, pattern: str) -> Methods:
        """Methods whose whole name matches the regular expression."""
        found = re.compile(pattern)
        return self._and(lambda _cls, name, _function: found.fullmatch(name) is not None)

    def of_type(self, cls: type) -> Methods:
        """Methods of instances of the class, wherever they are defined."""
        return self._and(lambda owner, _name, _function: cls in owner.__mro__)

    def that_are_async(self) -> Methods:
        """Methods that are `async def` and return, not those that are async generators."""
        return self._and(lambda _cls, _name, function: inspect.iscoroutinefunction(function))

    def that_are_sync(self) -> Methods:
        """All others."""
        return self._and(lambda _cls, _name, function: not inspect.iscoroutinefunction(function))

    def decorated_with(self, mark: type) -> Methods:
        """Methods that carry such a mark, themselves or where a base class declares them."""
        return self._and(
            lambda cls, name, _function: any(find_mark(vars(base).get(name), mark) is not None for base in cls.__mro__)
        )

    def choose(self, cls: type, name: str, function: FunctionType) -> bool:
        """Whether a method of a class is meant."""
        return all(condition(cls, name, function) for condition in self.conditions)

    def _and(self, condition: Condition) -> Methods:
        return Methods((*self.conditions, condition))


class AroundMark(msgspec.Struct, frozen=True):
    """Left by `@around`."""

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
        """Call the next advice, or the method itself; of an async method it returns what has to be awaited.

        Positional arguments, if there are any, replace all those after the instance; keyword arguments are added to
        those of the call, or replace them.
        """
        return self._next(*(args or self.args[1:]), **{**self.kwargs, **kwargs})


class Aspect(msgspec.Struct, frozen=True):
    """One `@around` method."""

    advice: type
    name: str
    target: Methods
    is_async: bool

    def __str__(self) -> str:
        return f"{self.advice.__name__}.{self.name}"


Woven = Mapping[str, tuple[Aspect, ...]]
"""The aspects of each advised method of a class, by the method's name; outermost first."""


@overload
def advice(cls: C) -> C: ...
@overload
def advice() -> Callable[[C], C]: ...
def advice(cls: C | None = None) -> C | Callable[[C], C]:
    """Declare a class whose `@around` methods apply to what the injector creates. It is an injectable itself."""
    if cls is not None:
        return add_mark(cls, AdviceMark())
    return lambda cls: add_mark(cls, AdviceMark())


def around(target: Methods) -> Callable[[F], F]:
    """Call the method, with an `Invocation`, in place of each method that the target chooses."""
    return lambda function: add_mark(function, AroundMark(target))


def methods() -> Methods:
    """Choose methods: `methods().named("customize").of_type(Channel)`."""
    return Methods()


def aspects_of(cls: type) -> tuple[Aspect, ...]:
    """The `@around` methods of an advice class."""
    return tuple(
        Aspect(cls, name, mark.target, inspect.iscoroutinefunction(inspect.getattr_static(cls, name)))
        for name, mark in marked_methods(cls, AroundMark).items()
    )


def advice_problems(cls: type) -> list[str]:
    """What is wrong with the `@around` methods of a class."""
    found = aspects_of(cls)
    problems = [
        f".{each.name}: has to take exactly one parameter, the Invocation"
        for each in found
        if not takes_one(inspect.getattr_static(cls, each.name))
    ]
    if found and find_mark(cls, AdviceMark) is None:
        problems.append("has methods with @around, but is not decorated with @advice")
    return problems


def weave(cls: type, aspects: Iterable[Aspect]) -> Woven:
    """Which aspects apply to which methods of a class. Advice itself is never advised."""
    if find_mark(cls, AdviceMark) is not None:
        return {}
    woven: dict[str, tuple[Aspect, ...]] = {}
    for aspect in aspects:
        for name in dir(cls):
            function = inspect.getattr_static(cls, name)
            # Python looks methods such as __call__ up on the class: replacing them on the instance has no effect.
            special = name.startswith("__") and name.endswith("__")
            if isinstance(function, FunctionType) and not special and aspect.target.choose(cls, name, function):
                woven[name] = (*woven.get(name, ()), aspect)
    return woven


def weaving_problems(cls: type, woven: Woven) -> list[str]:
    """Why advice cannot be applied to a class."""
    problems = [
        f".{name}: the advice {aspect} is async, but the method is not; make the advice a plain method"
        for name, aspects in woven.items()
        for aspect in aspects
        if aspect.is_async and not inspect.iscoroutinefunction(inspect.getattr_static(cls, name))
    ]
    if woven and not cls.__dictoffset__:
        names = ", ".join(woven)
        problems.append(f"cannot be advised ({names}): it has __slots__; add '__dict__' to them or remove them")
    return problems


def advise(instance: object, woven: Woven, advice_of: Callable[[type], object]) -> None:
    """Replace the advised methods of an instance.

    Args:
        instance: the object.
        woven: what `weave` says of its class.
        advice_of: gives the instance of an advice class.
    """
    for name, aspects in woven.items():
        function = inspect.getattr_static(type(instance), name)
        method = getattr(instance, name)
        for aspect in reversed(aspects):
            method = _advised(instance, function, method, getattr(advice_of(aspect.advice), aspect.name))
        # Not by setattr: the class may be a frozen dataclass.
        vars(instance)[name] = method


def _advised(
    instance: object, function: Callable[..., Any], next_: Callable[..., Any], aspect: Callable[[Invocation], Any]
) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(function):

        @functools.wraps(next_)
        def call(*args: Any, **kwargs: Any) -> Any:
            return aspect(Invocation(instance, function, (instance, *args), kwargs, next_))

        return call

    # Whoever asks whether the method is a coroutine function has to get the same answer as before. A plain advice
    # may return what proceed() returns or, if it does not proceed, the result itself.
    @functools.wraps(next_)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        result = aspect(Invocation(instance, function, (instance, *args), kwargs, next_))
        return await result if inspect.isawaitable(result) else result

    return call_async
