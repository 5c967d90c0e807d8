"""The injector: makes the objects that a graph of recipes describes, and cleans them up in reverse order.

The graph has decided before the start which recipe fills which parameter, and in which order recipes run.
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
    """The objects of one request. Made by `Injector.request`; several tasks may use it at once."""

    def __init__(self, graph: Graph, outer: Injector, make_proxy: MakeProxy, grace: float) -> None:
        super().__init__(graph, "request", make_proxy, grace)
        self._outer = outer

    async def __aenter__(self) -> Self:
        """Open the scope. Objects are made when they are requested."""
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clean up. Generators get the error, so that they can roll back; they cannot suppress it."""
        await self._close(error, throw=True)

    async def _from_outer_scope(self, recipe: Recipe) -> Any:
        return await self._outer.instance(recipe)

    def advice_of(self, cls: type) -> object:
        """The instance of an advice class."""
        return self._outer.advice_of(cls)


class Injector(InstanceScope):
    """Makes all singletons when it is entered, and cleans them up when it is left, in the same task.

    Args:
        graph: of all recipes.
        make_proxy: makes the proxy of a service for a preferred channel.
        grace: seconds that all clean-ups of one scope may take together.
    """

    def __init__(self, graph: Graph, make_proxy: MakeProxy = _no_proxy, *, grace: float = 30.0) -> None:
        super().__init__(graph, "singleton", make_proxy, grace)
        self._made: dict[type, Recipe] = {}

    def providers(self, kind: Any) -> tuple[Recipe, ...]:
        """The recipes that provide a type, with overrides applied; for a service those of its implementations."""
        return self._graph.providers(kind)

    async def __aenter__(self) -> Self:
        """Make all singletons, each after its dependencies. If one fails, the others are cleaned up.

        Raises:
            ConfigurationError: with all problems of the graph; then nothing was made.
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
            ExceptionGroup: of the clean-ups that failed; they are only logged if the block itself failed.
        """
        await self._close(error)

    def get_all(self, kind: type[T]) -> list[T]:
        """All singletons of a class and its subclasses, in the order of their construction."""
        self._require_open()
        found = {id(each): each for each in self._instances.values() if kind in type(each).__mro__}
        return list(found.values())

    async def make(self, cls: type[T]) -> T:
        """Make an instance of a class, which is cleaned up with the injector.

        Raises:
            ConfigurationError: with everything that cannot work. To check it at the start, add
                `recipe_of_class(cls, "transient")` to the recipes.
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
