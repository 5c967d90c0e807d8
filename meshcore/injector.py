"""The injector: checks recipes as a whole, then makes what they describe, and cleans it up in reverse order.

Everything that can be decided before anything is made is decided in the graph: which recipe answers which parameter, in
which order, and what cannot work. What is left for run time is to call constructors. The injector knows neither
services nor settings; both are handed to it as the two protocols below.
"""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

import anyio

from meshcore.aspects import advise
from meshcore.errors import Code, ConfigurationError, LocalError
from meshcore.graph import Argument, Given, Graph, Proxied, ServiceSource, joined
from meshcore.injection import MISSING
from meshcore.lookup import Live, UnresolvedError, ValueLookup
from meshcore.recipes import (
    Dependency,
    Kind,
    Recipe,
    name_of,
    recipe_of_class,
)

T = TypeVar("T")

_log = logging.getLogger("meshcore.injector")


class _Nothing:
    """Neither values nor services: what an injector has if it is given none."""

    def lookup(self, key: str) -> object:  # noqa: ARG002
        return MISSING

    def is_service(self, kind: type) -> bool:  # noqa: ARG002
        return False

    def why_not(self, kind: type, preferred_channel: str) -> str:  # noqa: ARG002
        return name_of(kind)

    def proxy(self, kind: type, preferred_channel: str) -> object:  # noqa: ARG002
        raise LookupError(name_of(kind))


_NOTHING: Final = _Nothing()


class _Scope(ABC):
    """Instances and their clean-up."""

    def __init__(self, graph: Graph, name: str, grace: float) -> None:
        self._graph = graph
        self._name = name
        self._grace = grace
        self._open = False
        self._instances: dict[Recipe, Any] = {}
        self._locks: dict[Recipe, anyio.Lock] = {}
        self._clean_ups: list[tuple[str, Callable[[], object]]] = []

    async def get(self, kind: type[T]) -> T:
        """What the recipes provide for a type; for a service its proxy.

        Raises:
            ConfigurationError: nothing, or several recipes, provide it.
            LocalError: this scope is not open, or what is asked for lives in a request.
        """
        self._require_open()
        try:
            answer = self._graph.answer(Dependency(where="", hint=kind, key=kind))
        except UnresolvedError as error:
            raise ConfigurationError(f"cannot get {name_of(kind)}", [str(error)]) from None
        return cast("T", await self._resolve(answer))

    async def instance(self, recipe: Recipe) -> Any:
        """What a recipe makes, never a proxy: how the mesh gets at an implementation.

        Raises:
            LocalError: this scope is not open, or the recipe's product lives in a request.
        """
        self._require_open()
        return await self._obtain(recipe)

    async def _obtain(self, recipe: Recipe) -> Any:
        if recipe.scope == "transient":
            return await self._make(recipe)
        if recipe.scope != self._name:
            return await self._obtain_elsewhere(recipe)
        # Not `is None`: None may be what was made.
        if recipe not in self._instances:
            # Held while the locks of what it needs are taken: without cycles in the graph that is no deadlock.
            async with self._locks.setdefault(recipe, anyio.Lock()):
                if recipe not in self._instances:
                    self._instances[recipe] = await self._make(recipe)
        return self._instances[recipe]

    async def _obtain_elsewhere(self, recipe: Recipe) -> Any:
        text = f"{recipe.origin} lives in a request: async with injector.request() as scope, then scope.get"
        raise LocalError(Code.FAILED_PRECONDITION, text)

    @abstractmethod
    def advice_of(self, cls: type) -> object:
        """The instance of an advice class."""

    async def _resolve(self, argument: Argument | None) -> Any:
        match argument:
            case Recipe():
                return await self._obtain(argument)
            case Given(value=value):
                return value
            case Proxied(kind=kind, preferred_channel=channel):
                return self._graph.services.proxy(kind, channel)
            case None:
                raise AssertionError("a graph with problems was used")  # the check comes first

    async def _make(self, recipe: Recipe) -> Any:
        """Construct a recipe's product and finish it."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        try:
            for need, (argument, _) in zip(recipe.dependencies, self._graph.answers(recipe), strict=True):
                value = await self._resolve(argument)
                if need.keyword:
                    named[need.keyword] = value
                else:
                    positional.append(value)
            product = await self._construct(recipe, positional, named)
            # A method that hands on one of its arguments (under another type) did not make it.
            if recipe.kind is not Kind.GIVEN and not any(product is each for each in positional):
                await self._finish(product)
        except Exception as error:
            error.add_note(f"while the injector made {recipe.origin}")
            raise
        return product

    async def _construct(self, recipe: Recipe, positional: list[Any], named: dict[str, Any]) -> Any:
        match recipe.kind:
            case Kind.OBJECT | Kind.GIVEN:
                return recipe.call(*positional, **named)
            case Kind.AWAITABLE:
                return await recipe.call(*positional, **named)
            case Kind.GENERATOR:
                manager = contextmanager(recipe.call)(*positional, **named)
                product = manager.__enter__()
                self._clean_ups.append((recipe.origin, partial(manager.__exit__, None, None, None)))
                return product
            case Kind.ASYNC_GENERATOR:
                async_manager = asynccontextmanager(recipe.call)(*positional, **named)
                product = await async_manager.__aenter__()
                self._clean_ups.append((recipe.origin, partial(async_manager.__aexit__, None, None, None)))
                return product

    async def _finish(self, product: object) -> None:
        """Do what the class of an object asks for: advice first, so that whatever is called here is advised too."""
        cls = type(product)
        plan = self._graph.plan(cls)
        if plan.problems:  # only of a class that no recipe names: what a method returned under the type of a base
            raise ConfigurationError("cannot finish an object", [joined(cls.__name__, text) for text in plan.problems])
        advise(product, plan.woven, self.advice_of)
        for (name, _), argument in zip(plan.lifecycle.setters, plan.setters, strict=True):
            await _settled(getattr(product, name)(await self._resolve(argument)))
        for name in plan.lifecycle.on_init:
            await _settled(getattr(product, name)())
        for name in plan.lifecycle.on_destroy:
            self._clean_ups.append((f"{cls.__name__}.{name}", getattr(product, name)))

    async def _close(self, reason: BaseException | None) -> None:
        """Clean up in reverse order, whatever fails.

        Raises:
            ExceptionGroup: of what failed, unless the scope ends with an error, which is more important.
            BaseException: what cancelled a clean-up, after the others were done.
        """
        self._open = False
        failures: list[Exception] = []
        try:
            if self._clean_ups:
                # Shielded: what is cancelled has to be cleaned up too. Bounded: so that it can hang nobody.
                with anyio.move_on_after(self._grace, shield=True) as bound:
                    await self._run_clean_ups(failures)
                if bound.cancelled_caught:
                    _log.error("clean-up took longer than %g s", self._grace)
                    failures.append(TimeoutError(f"clean-up took longer than {self._grace:g} s"))
        finally:
            self._instances.clear()
            self._locks.clear()
        if failures and reason is None:
            raise ExceptionGroup("clean-up failed", failures)

    async def _run_clean_ups(self, failures: list[Exception]) -> None:
        interruption: BaseException | None = None
        while self._clean_ups:
            origin, clean_up = self._clean_ups.pop()
            try:
                await _settled(clean_up())
            except Exception as error:  # noqa: BLE001 - logged here, raised together with the others
                _log.exception("clean-up of %s failed", origin)
                failures.append(error)
            except BaseException as error:  # noqa: BLE001 - raised below; the others are cleaned up before
                _log.warning("clean-up of %s was interrupted", origin)
                interruption = interruption or error
        if interruption is not None:
            raise interruption

    def _require_open(self) -> None:
        if not self._open:
            text = f"this {type(self).__name__} is not open: use it inside its `async with`"
            raise LocalError(Code.FAILED_PRECONDITION, text)


class RequestScope(_Scope):
    """What lives in one request. Made by `Injector.request`; safe to be used by several tasks."""

    def __init__(self, graph: Graph, outer: Injector, grace: float) -> None:
        super().__init__(graph, "request", grace)
        self._outer = outer

    async def __aenter__(self) -> Self:
        """Open it; nothing is made yet."""
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clean up what was made in it."""
        await self._close(error)

    async def _obtain_elsewhere(self, recipe: Recipe) -> Any:
        return await self._outer.instance(recipe)

    def advice_of(self, cls: type) -> object:
        """The instance of an advice class."""
        return self._outer.advice_of(cls)


class Injector(_Scope):
    """Makes what recipes describe; `async with` makes all singletons and cleans them up.

    Enter and leave it in the same task. It starts no tasks.

    Args:
        recipes: of a module (`recipes_of_module`), and whatever else there is.
        overrides: for tests, by type: an object; or a class, or a function, that makes one. It takes the place of every
            recipe that provides the type, and of a service's proxy.
        values: where `@inject_value` looks.
        services: who knows services.
        grace: seconds that all clean-ups of one scope may take together.
    """

    def __init__(
        self,
        recipes: Iterable[Recipe],
        *,
        overrides: Mapping[Any, object] | None = None,
        values: ValueLookup = _NOTHING,
        services: ServiceSource = _NOTHING,
        grace: float = 30.0,
    ) -> None:
        super().__init__(Graph(recipes, overrides or {}, values, services), "singleton", grace)
        self._made: dict[type, Recipe] = {}

    def problems(self) -> list[str]:
        """Everything that cannot work, each with the path to it; empty if the injector can start."""
        return list(self._graph.problems)

    @property
    def live(self) -> Sequence[Live]:
        """The values that are to change with their source; it grows with what is made later."""
        return self._graph.live

    def providers(self, kind: Any) -> tuple[Recipe, ...]:
        """The recipes that provide a type, after overrides; for a service those of its implementations."""
        return self._graph.providers(kind)

    async def __aenter__(self) -> Self:
        """Make all singletons, each after what it needs. If that fails, what was made is cleaned up.

        Raises:
            ConfigurationError: with everything that cannot work; then nothing was made.
        """
        if self._graph.problems:
            raise ConfigurationError("The injector cannot start", self._graph.problems)
        try:
            for recipe in self._graph.order:
                if recipe.scope == "singleton":
                    await self._obtain(recipe)
        except BaseException as error:
            await self._close(error)
            raise
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clean up everything, in reverse order of construction.

        Raises:
            ExceptionGroup: of the clean-ups that failed, unless the block itself failed: then they are only logged.
        """
        await self._close(error)

    def get_all(self, kind: type[T]) -> list[T]:
        """All singletons that are of a class or its subclasses, in the order of their construction."""
        self._require_open()
        found = {id(each): each for each in self._instances.values() if kind in type(each).__mro__}
        return list(found.values())

    async def make(self, cls: type[T]) -> T:
        """A new instance of a class, with its constructor injected and advice applied; cleaned up with the injector.

        Raises:
            ConfigurationError: with everything that cannot work; add `recipe_of_class(cls, "transient")` to the
                injector's recipes to be told at start.
        """
        self._require_open()
        if cls not in self._made:
            recipe = recipe_of_class(cls, "transient")
            problems = self._graph.check(recipe)
            if problems:
                raise ConfigurationError(f"cannot make {cls.__name__}", problems)
            self._made[cls] = recipe
        return cast("T", await self._obtain(self._made[cls]))

    def request(self) -> RequestScope:
        """A scope for one request: `async with injector.request() as scope: await scope.get(T)`."""
        self._require_open()
        return RequestScope(self._graph, self, self._grace)

    def advice_of(self, cls: type) -> object:
        """The instance of an advice class.

        Raises:
            ConfigurationError: it is not made yet.
        """
        recipe = self._graph.advice[cls]
        if recipe not in self._instances:
            text = f"{cls.__name__} advises what it needs itself; narrow it with of_type"
            raise ConfigurationError("cannot apply advice", [text])
        return self._instances[recipe]


async def _settled(result: Any) -> Any:
    """The result of a method that may be sync or async."""
    return await result if inspect.isawaitable(result) else result
