"""Gives a method of a service the other form than its interface declares: `blocking` and `awaitable`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from meshcore.client.bridge import Bridge, discard
from meshcore.client.streaming.methods import FORM, awaitable_fake, blocking_fake
from meshcore.core.errors import Code, LocalError

P = ParamSpec("P")
T = TypeVar("T")


class _Functions(Protocol):
    """The methods of a class of proxies in the other form."""

    def get(self, name: str) -> Any:
        """The function of that name, None if there is none."""
        ...


@overload
def blocking(method: Callable[P, AsyncIterator[T]]) -> Callable[P, Iterator[T]]: ...


@overload
def blocking(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]: ...


@overload
def blocking(method: Callable[P, T]) -> Callable[P, T]: ...


def blocking(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that blocks its thread out of a method of a service, for code without an event loop.

        hello = blocking(greeting.hello)
        print(hello("world"))

    The call is the same: instances, retries, deadline. A method that is declared with `def` stays as it is.

    Args:
        method: of a proxy. A method of another object, such as a fake in a test, is run by `asyncio.run`.

    Raises:
        LocalError: INVALID_ARGUMENT, this is no method.
    """
    _check_method("blocking", method)
    if getattr(method, FORM, "") == "async" or inspect.isasyncgenfunction(method):
        return _in_other_colour(method) or blocking_fake(method)
    if not inspect.iscoroutinefunction(method):
        return method
    if other := _in_other_colour(method):
        return other
    bridge: Bridge | None = getattr(_owner(method), "_mesh_bridge", None)

    @functools.wraps(method)
    def run(*arguments: Any, **keywords: Any) -> Any:
        given = method(*arguments, **keywords)
        # A helper that the interface of a proxy implements itself runs on the mesh's loop.
        return asyncio.run(given) if bridge is None else bridge.run(f"blocking({method.__name__})", given)

    return run


@overload
def awaitable(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    method: Callable[P, AsyncIterator[T]],
) -> Callable[P, AsyncIterator[T]]: ...


@overload
def awaitable(  # type: ignore[overload-overlap]
    method: Callable[P, Iterator[T]],
) -> Callable[P, AsyncIterator[T]]: ...


@overload
def awaitable(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]: ...


@overload
def awaitable(method: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]: ...


def awaitable(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a coroutine function out of a method of a service, for code on an event loop, which `def` would block.

        tick = awaitable(clock.tick)
        print(await tick(3))

    The call is the same: instances, retries, deadline. It takes no thread, unless the implementation is `def` and in
    this process. A method that is declared with `async def` stays as it is.

    Args:
        method: of a proxy. A method of another object, such as a fake in a test, is run in a thread.

    Raises:
        LocalError: INVALID_ARGUMENT, this is no method.
    """
    _check_method("awaitable", method)
    if (
        inspect.iscoroutinefunction(method)
        or inspect.isasyncgenfunction(method)
        or getattr(method, FORM, "") == "async"
    ):
        return method
    if inspect.isgeneratorfunction(method):
        return awaitable_fake(method)
    return _in_other_colour(method) or functools.wraps(method)(functools.partial(asyncio.to_thread, method))


def _check_method(name: str, method: object) -> None:
    if not callable(method):
        discard(method)
        text = f"{name}() takes a method of a service, such as greeting.hello, and got {type(method).__name__}"
        mend = f": do not call the method, call what {name}() returns" if inspect.isawaitable(method) else ""
        raise LocalError(Code.INVALID_ARGUMENT, text + mend)


def _owner(method: Any) -> Any:
    return getattr(method, "__self__", None)


def _in_other_colour(method: Any) -> Callable[..., Any] | None:
    """A proxy's method as `async def` if it is `def`, and as `def` if it is `async def`; None if it has no such method.

    Both make the same call. Only the proxy's own methods count, not the helpers that its interface implements.
    """
    functions: _Functions | None = getattr(_owner(method), "_mesh_other_colour", None)
    function = functions.get(method.__name__) if functions is not None else None
    return types.MethodType(function, _owner(method)) if function is not None else None
