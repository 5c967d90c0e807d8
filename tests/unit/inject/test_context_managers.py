"""`@create` methods that are context managers: entered when the object is made, left at clean-up."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from meshcore import create, module
from meshcore.inject.graph import Graph
from meshcore.inject.injector import Injector
from meshcore.inject.modules import describe_modules, recipes_of_modules


class Pool:
    """Made and closed."""


class Cache:
    """Made from a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool


class Session:
    """Of a request."""


def graph_of(cls: type, overrides: dict[Any, object] | None = None) -> Graph:
    """The graph of one module."""
    return Graph(recipes_of_modules(describe_modules(cls)), overrides=overrides or {})


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of the user's."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Resources:
    log: list[str]

    def __init__(self) -> None:
        self.log = []

    @create()
    @asynccontextmanager
    async def pool(self) -> AsyncIterator[Pool]:
        self.log.append("pool opened")
        try:
            yield Pool()
        finally:
            self.log.append("pool closed")

    @traced
    @contextmanager
    @create()
    def cache(self, pool: Pool) -> Iterator[Cache]:
        self.log.append("cache opened")
        with pool_of(pool):
            yield Cache(pool)
        self.log.append("cache closed")

    @create("request")
    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        try:
            yield Session()
        except LookupError as error:
            self.log.append(f"rolled back {error}")
            raise
        self.log.append("committed")


@contextmanager
def pool_of(pool: Pool) -> Iterator[Pool]:
    """A context within another."""
    yield pool


module()(Resources)


async def test_they_are_entered_and_left() -> None:
    """What they yield is provided, in whichever order the decorators stand, and they are left in reverse order."""
    async with Injector(graph_of(Resources)) as injector:
        resources = await injector.get(Resources)
        cache = await injector.get(Cache)
        assert cache.pool is await injector.get(Pool)
        assert resources.log == ["pool opened", "cache opened"]
    assert resources.log == ["pool opened", "cache opened", "cache closed", "pool closed"]


async def test_in_a_request_they_get_the_error() -> None:
    """As generators do: they commit, or roll back."""
    async with Injector(graph_of(Resources)) as injector:
        resources = await injector.get(Resources)
        async with injector.request() as scope:
            assert isinstance(await scope.get(Session), Session)
        with pytest.raises(LookupError):
            await fail_in_a_request(injector)
        assert resources.log[2:] == ["committed", "rolled back lost"]


async def fail_in_a_request(injector: Injector) -> None:
    """End a request with an error."""
    async with injector.request() as scope:
        await scope.get(Session)
        raise LookupError("lost")


async def test_as_overrides() -> None:
    """A context manager that replaces a type is entered, too."""
    log: list[str] = []

    @asynccontextmanager
    async def fake() -> AsyncIterator[Pool]:
        log.append("opened")
        yield Pool()
        log.append("closed")

    async with Injector(graph_of(Resources, {Pool: fake})) as injector:
        assert isinstance(await injector.get(Pool), Pool)
        assert log == ["opened"]
    assert log == ["opened", "closed"]


def test_what_they_provide_has_to_be_said() -> None:
    """The annotation is that of the generator."""

    @module()
    class Silent:
        @create()
        @asynccontextmanager
        async def pool(self):
            yield Pool()

    (problem,) = graph_of(Silent).problems
    assert problem.startswith(
        "Silent.pool: needs AsyncIterator[T] as its return annotation, which says what it provides"
    )
