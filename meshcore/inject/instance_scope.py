"""A scope of the injector: the objects that were made in it, and their clean-up in reverse order.

A recipe runs at most once in its scope, however many tasks request its product at the same time.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

import anyio

from meshcore.core.context.call_scope import failure_of
from meshcore.core.context.threads import awaited
from meshcore.core.errors import Code, ConfigurationError, LocalError
from meshcore.inject.arguments import Argument, Constant, Omitted, Proxied
from meshcore.inject.dependencies import Dependency, name_of
from meshcore.inject.graph import Graph, problem_text
from meshcore.inject.recipes import Kind, Recipe
from meshcore.inject.values import UnresolvedError
from meshcore.inject.weaving import advise

T = TypeVar("T")

MakeProxy: TypeAlias = Callable[[type, str], object]

_log = logging.getLogger(__name__)


class InstanceScope(ABC):
    """The instances of one scope.

    Args:
        graph: of all recipes.
        name: of the scope; recipes with this scope are made here.
        make_proxy: makes the proxy of a service for a preferred channel.
        grace: seconds that all clean-ups may take together.
    """

    def __init__(self, graph: Graph, name: str, make_proxy: MakeProxy, grace: float) -> None:
        self._graph = graph
        self._make_proxy = make_proxy
        self._name = name
        self._grace = grace
        self._open = False
        self._instances: dict[Recipe, Any] = {}
        self._locks: dict[Recipe, anyio.Lock] = {}
        self._clean_ups: list[tuple[str, Callable[[BaseException | None], object]]] = []

    async def get(self, kind: Callable[..., T]) -> T:
        """The object of a type; for a service its proxy.

        Raises:
            ConfigurationError: no recipe provides the type, or several do.
            LocalError: this scope is not open, or the object belongs to a request.
        """
        # Callable, not type[T]: type checkers reject abstract classes and protocols as type[T].
        self._require_open()
        try:
            argument = self._graph.argument(Dependency(where="", hint=kind, key=kind))
        except UnresolvedError as error:
            raise ConfigurationError(f"cannot get {name_of(kind)}", [str(error)]) from None
        return cast("T", await self._resolve(argument))

    async def instance(self, recipe: Recipe) -> Any:
        """The object that a recipe makes, never a proxy.

        Raises:
            LocalError: this scope is not open, or the object belongs to a request.
        """
        self._require_open()
        return await self._obtain(recipe)

    async def _obtain(self, recipe: Recipe) -> Any:
        if recipe.scope == "transient":
            return await self._make(recipe)
        if recipe.scope != self._name:
            return await self._from_outer_scope(recipe)
        # A recipe may make None, so the dictionary is asked.
        if recipe not in self._instances:
            # The lock is held while dependencies take theirs. Without cycles in the graph there is no deadlock.
            async with self._locks.setdefault(recipe, anyio.Lock()):
                if recipe not in self._instances:
                    self._instances[recipe] = await self._make(recipe)
        return self._instances[recipe]

    async def _from_outer_scope(self, recipe: Recipe) -> Any:
        text = f"{recipe.origin} lives in a request: async with injector.request() as scope, then scope.get"
        raise LocalError(Code.FAILED_PRECONDITION, text)

    @abstractmethod
    def advice_of(self, cls: type) -> object:
        """The instance of an advice class."""

    async def _resolve(self, argument: Argument | None) -> Any:
        match argument:
            case Recipe():
                return await self._obtain(argument)
            case Constant(value=value):
                return value
            case Proxied(kind=kind, preferred_channel=channel):
                return self._make_proxy(kind, channel)
            case Omitted() | None:
                raise AssertionError("a graph with problems was used")  # they are checked at the start

    async def _make(self, recipe: Recipe) -> Any:
        """Make the product of a recipe, and finish it."""
        try:
            positional, named = await self._arguments(recipe)
            product = await self._construct(recipe, positional, named)
            # A method that returns one of its arguments, under another type, has not made it.
            if recipe.kind is not Kind.EXISTING and not any(product is each for each in (*positional, *named.values())):
                await self._finish(product)
        except Exception as error:
            error.add_note(f"while the injector made {recipe.origin}")
            raise
        return product

    async def _arguments(self, recipe: Recipe) -> tuple[list[Any], dict[str, Any]]:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        complete = True
        for dependency, (argument, _) in zip(recipe.dependencies, self._graph.arguments(recipe), strict=True):
            if isinstance(argument, Omitted):
                complete = complete and bool(dependency.keyword)
            elif dependency.keyword:
                named[dependency.keyword] = await self._resolve(argument)
            elif complete:  # behind one that is left out, it would be taken for that one
                positional.append(await self._resolve(argument))
        return positional, named

    async def _construct(self, recipe: Recipe, positional: list[Any], named: dict[str, Any]) -> Any:
        match recipe.kind:
            case Kind.OBJECT | Kind.EXISTING:
                try:
                    return recipe.call(*positional, **named)
                except TypeError as error:
                    if any(dependency.handed_on for dependency in recipe.dependencies):
                        raise self._not_handed_on(recipe, error) from error
                    raise
            case Kind.AWAITABLE:
                return await recipe.call(*positional, **named)
            case Kind.GENERATOR | Kind.CONTEXT:
                make = recipe.call if recipe.kind is Kind.CONTEXT else contextmanager(recipe.call)
                manager = make(*positional, **named)
                product = manager.__enter__()
                self._clean_ups.append((recipe.origin, partial(_exit_context, manager.__exit__)))
                return product
            case Kind.ASYNC_GENERATOR | Kind.ASYNC_CONTEXT:
                make = recipe.call if recipe.kind is Kind.ASYNC_CONTEXT else asynccontextmanager(recipe.call)
                async_manager = make(*positional, **named)
                product = await async_manager.__aenter__()
                self._clean_ups.append((recipe.origin, partial(_exit_context, async_manager.__aexit__)))
                return product

    def _not_handed_on(self, recipe: Recipe, error: TypeError) -> ConfigurationError:
        """The error for a constructor with `*args` or `**kwargs` that could not be called."""
        missing = [
            f"{recipe.origin}{dependency.where}: {argument.reason}"
            for dependency, (argument, _) in zip(recipe.dependencies, self._graph.arguments(recipe), strict=True)
            if isinstance(argument, Omitted) and argument.reason and dependency.where[1:-1] in str(error)
        ]
        text = f"{recipe.origin}: {error}; name the parameters of its constructor instead of *args and **kwargs"
        return ConfigurationError(f"cannot make {recipe.origin}", missing or [text])

    async def _finish(self, product: object) -> None:
        """Apply advice to an object, then call its setters and its `on_init` methods."""
        cls = type(product)
        plan = self._graph.plan(cls)
        if plan.problems:  # a method returned a subclass of its declared type, which could not be checked before
            raise ConfigurationError(
                "cannot finish an object", [problem_text(cls.__name__, text) for text in plan.problems]
            )
        advise(product, plan.woven, self.advice_of)
        for (name, _), argument in zip(plan.lifecycle.setters, plan.setters, strict=True):
            await awaited(getattr(product, name)(await self._resolve(argument)))
        for name in plan.lifecycle.on_init:
            await awaited(getattr(product, name)())
        for name in plan.lifecycle.on_destroy:
            self._clean_ups.append((f"{cls.__name__}.{name}", partial(_call, getattr(product, name))))

    async def _close(self, reason: BaseException | None, *, throw: bool = False) -> None:
        """Clean up in reverse order, also if some clean-up fails.

        Args:
            reason: the error that ends the scope.
            throw: whether generators get that error, at their `yield`.

        Raises:
            ExceptionGroup: of the clean-ups that failed; they are only logged if the scope ends with an error.
            BaseException: what cancelled a clean-up, after the others have run.
        """
        self._open = False
        failures: list[Exception] = []
        try:
            if self._clean_ups:
                # Shielded: a cancelled scope has to be cleaned up, too. Bounded: a clean-up must not block the stop.
                with anyio.move_on_after(self._grace, shield=True) as bound:
                    await self._run_clean_ups(failures, reason, throw=throw)
                if bound.cancelled_caught:
                    _log.error("clean-up took longer than %g s", self._grace)
                    failures.append(TimeoutError(f"clean-up took longer than {self._grace:g} s"))
        finally:
            self._instances.clear()
            self._locks.clear()
        if failures and reason is None:
            raise ExceptionGroup("clean-up failed", failures)

    async def _run_clean_ups(self, failures: list[Exception], reason: BaseException | None, *, throw: bool) -> None:
        interruption: BaseException | None = None
        while self._clean_ups:
            origin, clean_up = self._clean_ups.pop()
            try:
                await awaited(clean_up(reason if throw else None))
            except BaseException as error:  # noqa: BLE001 - raised below, or together with the others
                failure = failure_of(error)
                if failure is None:
                    _log.warning("clean-up of %s was interrupted", origin)
                    interruption = interruption or error
                else:
                    _log.exception("clean-up of %s failed", origin)
                    failures.append(failure)
                reason = reason or error  # as with nested `async with`: the outer ones get the error
        if interruption is not None:
            raise interruption

    def _require_open(self) -> None:
        if not self._open:
            text = f"this {type(self).__name__} is not open: use it inside its `async with`"
            raise LocalError(Code.FAILED_PRECONDITION, text)


def _exit_context(exit_: Callable[..., object], error: BaseException | None) -> object:
    """Leave the context of a generator. It returns normally if the generator raises the same error again."""
    return exit_(None, None, None) if error is None else exit_(type(error), error, error.__traceback__)


def _call(method: Callable[[], object], _: BaseException | None) -> object:
    return method()
