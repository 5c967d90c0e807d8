"""The injector: checks recipes as a whole, then makes what they describe, and cleans it up in reverse order.

Everything that can be decided before anything is made is decided in the graph: which recipe answers which parameter, in
which order, and what cannot work. What is left for run time is to call constructors.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, TypeVar, cast

from meshcore.core.errors import ConfigurationError
from meshcore.inject.dependencies import name_of
from meshcore.inject.graph import Graph
from meshcore.inject.instance_scope import InstanceScope, MakeProxy
from meshcore.inject.recipes import Recipe, recipe_of_class

T = TypeVar("T")


def _no_proxy(kind: type, preferred_channel: str) -> object:  # noqa: ARG001
    raise LookupError(name_of(kind))


class RequestScope(InstanceScope):
    """What lives in one request. Made by `Injector.request`; safe to be used by several tasks."""

    def __init__(self, graph: Graph, outer: Injector, make_proxy: MakeProxy, grace: float) -> None:
        super().__init__(graph, "request", make_proxy, grace)
        self._outer = outer

    async def __aenter__(self) -> Self:
        """Open it; nothing is made yet."""
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clean up what was made in it. Its generators get the error, so that none keeps what is half done.

        What they make of it changes nothing: the error goes on.
        """
        await self._close(error, tell=True)

    async def _obtain_elsewhere(self, recipe: Recipe) -> Any:
        return await self._outer.instance(recipe)

    def advice_of(self, cls: type) -> object:
        """The instance of an advice class."""
        return self._outer.advice_of(cls)


class Injector(InstanceScope):
    """Makes what recipes describe; `async with` makes all singletons and cleans them up.

    Enter and leave it in the same task. It starts no tasks.

    Args:
        graph: of all recipes.
        make_proxy: makes the proxy of a service for a preferred channel.
        grace: seconds that all clean-ups of one scope may take together.
    """

    def __init__(self, graph: Graph, make_proxy: MakeProxy = _no_proxy, *, grace: float = 30.0) -> None:
        super().__init__(graph, "singleton", make_proxy, grace)
        self._made: dict[type, Recipe] = {}

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
        return RequestScope(self._graph, self, self._make_proxy, self._grace)

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
