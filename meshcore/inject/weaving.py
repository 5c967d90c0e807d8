"""Applies advice: code around methods of the objects that the injector makes.

    @advice
    class ChannelAdvice:
        @around(methods().named("customize").of_type(Channel))
        def customize(self, invocation: Invocation) -> object:
            cast(Channel, invocation.args[0]).select_first_url()
            return invocation.proceed()

A matching method is replaced on the instance, not on its class. So calls from inside the class are advised, too, two
meshes share nothing, and other methods cost nothing. Several advices apply in the order of their modules; the first is
outermost.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any

import msgspec

from meshcore.core.marks import find_mark, marked_methods, takes_one
from meshcore.declare.advice import AdviceMark, AroundMark, Invocation, Methods


class Aspect(msgspec.Struct, frozen=True):
    """One `@around` method."""

    advice: type
    name: str
    target: Methods
    is_async: bool

    def __str__(self) -> str:
        return f"{self.advice.__name__}.{self.name}"


Woven = Mapping[str, tuple[Aspect, ...]]
"""The aspects of each advised method of a class, by the name of the method; outermost first."""


def aspects_of(cls: type) -> tuple[Aspect, ...]:
    """The `@around` methods of an advice class."""
    return tuple(
        Aspect(cls, name, mark.target, inspect.iscoroutinefunction(inspect.getattr_static(cls, name)))
        for name, mark in marked_methods(cls, AroundMark).items()
    )


def advice_problems(cls: type) -> list[str]:
    """What is wrong with the `@around` methods of a class."""
    return [
        f".{each.name}: has to take exactly one parameter, the Invocation"
        for each in aspects_of(cls)
        if not takes_one(inspect.getattr_static(cls, each.name))
    ]


def weave(cls: type, aspects: Iterable[Aspect]) -> Woven:
    """The aspects that apply to the methods of a class. Advice classes themselves are never advised."""
    if find_mark(cls, AdviceMark) is not None:
        return {}
    woven: dict[str, tuple[Aspect, ...]] = {}
    for aspect in aspects:
        for name in dir(cls):
            function = inspect.getattr_static(cls, name)
            # Python looks up methods such as __call__ on the class. Replacing them on the instance has no effect.
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
        woven: from `weave`, for its class.
        advice_of: gives the instance of an advice class.
    """
    for name, aspects in woven.items():
        function = inspect.getattr_static(type(instance), name)
        method = getattr(instance, name)
        for aspect in reversed(aspects):
            method = _advised(instance, function, method, getattr(advice_of(aspect.advice), aspect.name))
        # Not with setattr: the class may be a frozen dataclass.
        vars(instance)[name] = method


def _advised(
    instance: object, function: Callable[..., Any], next_: Callable[..., Any], aspect: Callable[[Invocation], Any]
) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(function):

        @functools.wraps(next_)
        def call(*args: Any, **kwargs: Any) -> Any:
            return aspect(Invocation(instance, function, (instance, *args), kwargs, next_))

        return call

    # The replacement of a coroutine function must be one, too: callers may check. An advice that is a plain function
    # returns the awaitable of proceed() or, if it does not proceed, the result itself.
    @functools.wraps(next_)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        result = aspect(Invocation(instance, function, (instance, *args), kwargs, next_))
        return await result if inspect.isawaitable(result) else result

    return call_async
