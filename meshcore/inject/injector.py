"""The injector: checks recipes as a whole, then makes what they describe, and cleans it up in reverse order.

Everything that can be decided before anything is made is decided in the graph: which recipe answers which parameter, in
which order, and what cannot work. What is left for run time is to call constructors. The injector knows neither
services nor settings; both are handed to it behind protocols (`ValueLookup`, `ServiceSource`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from meshcore.core.errors import ConfigurationError
from meshcore.core.marks import MISSING
from meshcore.core.suggest import did_you_mean
from meshcore.inject.dependencies import name_of
from meshcore.inject.graph import Graph, ServiceSource
from meshcore.inject.instance_scope import InstanceScope
from meshcore.inject.recipes import Recipe, recipe_of_class
from meshcore.inject.values import Live, ValueLookup

T = TypeVar("T")


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


class RequestScope(InstanceScope):
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

    def idle_overrides(self, apart: Collection[object] = ()) -> list[str]:
        """What is wrong with overrides that replace nothing, and that nothing needs.

        Args:
            apart: types for which there are other uses.
        """
        idle = sorted(name_of(each) for each in self._graph.idle.difference(apart))
        known = self._graph.names.difference(idle)
        return [f"the override of {name} replaces nothing{did_you_mean(name, known)}" for name in idle]

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
