"""The injector: checks recipes as a whole, then makes what they describe, and cleans it up in reverse order.

Everything that can be decided before anything is made is decided in the graph: which recipe answers which parameter, in
which order, and what cannot work. What is left for run time is to call constructors. The injector knows neither
services nor settings; both are handed to it as the two protocols below.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from difflib import get_close_matches
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar, cast, get_origin

import anyio
import msgspec

from meshcore.advice import AdviceMark, Woven, advice_problems, advise, aspects_of, weave, weaving_problems
from meshcore.errors import Code, ConfigurationError, LocalError
from meshcore.marks import find_mark
from meshcore.recipes import (
    MISSING,
    SCOPES,
    Dependency,
    InjectService,
    InjectValue,
    Kind,
    Lifecycle,
    Recipe,
    lifecycle_of,
    name_of,
    recipe_of_class,
    recipe_of_function,
    recipe_of_object,
)
from meshcore.suggest import did_you_mean

T = TypeVar("T")

_log = logging.getLogger("meshcore.injector")
_PLAIN: Final = (str, int, float, bool, bytes)


class ValueSource(Protocol):
    """Where `@inject_value` looks."""

    def lookup(self, key: str) -> object:
        """The value as it was written, text or plain data; `MISSING` if nobody wrote it."""
        ...


class ServiceSource(Protocol):
    """Who knows which types are services."""

    def is_service(self, kind: type) -> bool:
        """Whether this type is always answered with a proxy."""
        ...

    def proxy(self, kind: type, preferred_channel: str) -> object:
        """A proxy for a service, which need not be reachable yet."""
        ...


class _Nothing:
    """Neither values nor services: what an injector has if it is given none."""

    def lookup(self, key: str) -> object:  # noqa: ARG002
        return MISSING

    def is_service(self, kind: type) -> bool:  # noqa: ARG002
        return False

    def proxy(self, kind: type, preferred_channel: str) -> object:  # noqa: ARG002
        raise LookupError(name_of(kind))


_NOTHING: Final = _Nothing()


# --- The graph: what needs what ---------------------------------------------------------------------------------------


class _Given(msgspec.Struct, frozen=True, eq=False):
    """An argument that is known beforehand: a value of the settings, a default, or None."""

    value: object


class _Proxied(msgspec.Struct, frozen=True, eq=False):
    """An argument that is a service."""

    kind: type
    preferred_channel: str


_Argument = Recipe | _Given | _Proxied


class _Plan(msgspec.Struct, frozen=True, eq=False):
    """What happens to each instance of a class once it is constructed."""

    lifecycle: Lifecycle
    setters: tuple[_Argument | None, ...]
    woven: Woven
    problems: tuple[str, ...]


class _UnresolvedError(Exception):
    """A dependency cannot be answered; the text says why."""


class _Graph:
    """All recipes and what they need of each other. Pure: it makes nothing.

    Attributes:
        advice: the recipes of advice classes.
        order: all recipes, each after those it needs. Advice is first, so that it is ready for what it advises.
        problems: everything that cannot work.
    """

    def __init__(
        self,
        recipes: Iterable[Recipe],
        overrides: Mapping[Any, object],
        values: ValueSource,
        services: ServiceSource,
    ) -> None:
        self._values = values
        self.services = services
        self._overrides = frozenset(overrides)
        kept = [recipe for recipe in recipes if not recipe.keys & self._overrides]
        every = [*kept, *(_override(key, value) for key, value in overrides.items())]
        self._by_key: dict[Any, list[Recipe]] = {}
        for recipe in every:
            for key in recipe.keys:
                self._by_key.setdefault(key, []).append(recipe)
        self.advice = {each.product: each for each in every if find_mark(each.product, AdviceMark) is not None}
        self._aspects = tuple(aspect for cls in self.advice for aspect in aspects_of(cls))
        self._plans: dict[type, _Plan] = {}
        self._answers: dict[Recipe, tuple[tuple[_Argument | None, str], ...]] = {}
        # For each recipe that was visited the path to a request-scoped one that it needs, empty if there is none.
        self._leaks: dict[Recipe, str] = {}
        self.order: list[Recipe] = []
        self.problems: list[str] = []
        needed = {argument for recipe in every for argument, _ in self.answers(recipe)}
        # A path is easiest to follow from something that nobody needs; what is in a cycle is found last.
        for recipe in (*self.advice.values(), *(each for each in every if each not in needed), *every):
            self._visit(recipe, (), self.problems)

    def check(self, recipe: Recipe) -> list[str]:
        """What cannot work in one more recipe; it becomes nobody's argument."""
        problems: list[str] = []
        self._visit(recipe, (), problems)
        return problems

    def providers(self, key: Any) -> tuple[Recipe, ...]:
        """The recipes that provide a type; recipes for exactly this type outdo those for its subclasses."""
        found = self._by_key.get(key, ())
        return tuple(each for each in found if each.product == key) or tuple(found)

    def answers(self, recipe: Recipe) -> tuple[tuple[_Argument | None, str], ...]:
        """What a recipe is called with, or None and the reason."""
        if recipe not in self._answers:
            self._answers[recipe] = tuple(self._try(need) for need in recipe.dependencies)
        return self._answers[recipe]

    def plan(self, cls: type) -> _Plan:
        """What happens to instances of a class."""
        if cls not in self._plans:
            lifecycle = lifecycle_of(cls)
            woven = weave(cls, self._aspects)
            problems = [*lifecycle.problems, *advice_problems(cls), *weaving_problems(cls, woven)]
            answers = [(need, *self._try(need)) for _, need in lifecycle.setters]
            problems += [f"{need.where}: {problem}" for need, _, problem in answers if problem]
            arguments = tuple(argument for _, argument, _ in answers)
            self._plans[cls] = _Plan(lifecycle, arguments, woven, tuple(problems))
        return self._plans[cls]

    def answer(self, need: Dependency) -> _Argument:
        """What answers a dependency.

        Raises:
            _UnresolvedError: nothing does, or several do.
        """
        if need.problem:
            raise _UnresolvedError(need.problem)
        if isinstance(need.source, InjectValue):
            return self._value(need, need.source)
        key = need.key
        if key not in self._overrides and isinstance(key, type):
            if self.services.is_service(key):
                return _Proxied(key, need.source.preferred_channel if need.source else "")
            if isinstance(need.source, InjectService):
                raise _UnresolvedError(f"{name_of(key)} is no service")
        match self.providers(key):
            case (recipe,):
                return recipe
            case ():
                if need.default is not MISSING or need.optional:
                    return _Given(None if need.default is MISSING else need.default)
                raise _UnresolvedError(self._why_missing(key))
            case several:
                places = ", ".join(sorted(each.place for each in several))
                raise _UnresolvedError(f"several provide {name_of(key)}, and none is exactly that: {places}")

    def _try(self, need: Dependency) -> tuple[_Argument | None, str]:
        try:
            return self.answer(need), ""
        except _UnresolvedError as error:
            return None, str(error)

    def _value(self, need: Dependency, mark: InjectValue) -> _Argument:
        raw = self._values.lookup(mark.key)
        if raw is MISSING:
            defaults = [each for each in (mark.default, need.default) if each is not MISSING]
            if defaults or need.optional:
                return _Given(defaults[0] if defaults else None)
            raise _UnresolvedError(f"no setting gives {mark.key!r}; set it, or give inject_value a default")
        try:
            return _Given(msgspec.convert(raw, need.hint, strict=False, dec_hook=_revive))
        except Exception as error:  # the conversion runs constructors of the user's
            raise _UnresolvedError(f"the setting {mark.key!r} does not fit: {error}") from error

    def _visit(self, recipe: Recipe, trail: tuple[tuple[Recipe, str], ...], problems: list[str]) -> None:
        """Depth first: check a recipe after all that it needs, and put it in the order."""
        if recipe in self._leaks:
            return
        self._leaks[recipe] = recipe.origin if recipe.scope == "request" else ""
        path = "".join(f"{step} > " for _, step in trail)
        problems += [path + _joined(recipe.origin, text) for text in self._declared(recipe)]
        for need, (argument, problem) in self._needs(recipe):
            step = recipe.origin + need.where
            if problem:
                problems.append(f"{path}{step}: {problem}")
            if not isinstance(argument, Recipe):
                continue
            here = (*trail, (recipe, step))
            above = [each for each, _ in here]
            if argument in above:
                circle = " > ".join(each for _, each in here[above.index(argument) :])
                problems.append(f"{circle} > {argument.origin}: a cycle; nothing in it can be made first")
                continue
            self._visit(argument, here, problems)
            leak = self._leaks[argument]
            if leak and recipe.scope == "singleton":
                problems.append(
                    f"{path}{step} > {leak}: lives for one request only, but {recipe.origin} is a singleton; "
                    f'give {recipe.origin} the scope "request"'
                )
            elif leak and recipe.scope == "transient":
                self._leaks[recipe] = f"{step} > {leak}"
        self.order.append(recipe)

    def _planned(self, recipe: Recipe) -> _Plan | None:
        """What is known beforehand of what happens to a recipe's product; its class may still be a subclass."""
        if recipe.kind is Kind.GIVEN or not isinstance(recipe.product, type):
            return None
        return self.plan(recipe.product)

    def _declared(self, recipe: Recipe) -> Iterator[str]:
        """What is wrong with a recipe by itself."""
        yield from recipe.problems
        if recipe.scope not in SCOPES:
            yield f"there is no scope {recipe.scope!r}{did_you_mean(recipe.scope, SCOPES)}"
        if plan := self._planned(recipe):
            yield from plan.problems

    def _needs(self, recipe: Recipe) -> Iterator[tuple[Dependency, tuple[_Argument | None, str]]]:
        """All that has to be there before a product is finished, with the answers."""
        yield from zip(recipe.dependencies, self.answers(recipe), strict=True)
        if plan := self._planned(recipe):
            for (_, need), argument in zip(plan.lifecycle.setters, plan.setters, strict=True):
                yield need, (argument, "")  # the problem is among the plan's
            for cls in dict.fromkeys(aspect.advice for aspects in plan.woven.values() for aspect in aspects):
                need = Dependency(where=" (by its advice)", hint=cls, key=cls)
                yield need, self._try(need)

    def _why_missing(self, key: Any) -> str:
        name = name_of(key)
        if key in _PLAIN:
            return f'nothing provides {name}; for a setting write Annotated[{name}, inject_value("...")]'
        text = f"nothing provides {name}; add @injectable to it, or a @create method to a module"
        bases: tuple[type, ...] = (get_origin(key) or key).__mro__ if isinstance(get_origin(key) or key, type) else ()
        general = [each for base in bases for each in self._by_key.get(base, ()) if each.product is base]
        if general:
            return f"{text}; {general[0].origin} provides only {name_of(general[0].product)}"
        close = get_close_matches(name, sorted({name_of(each) for each in self._by_key} - {name}), n=1)
        if close:
            return f"{text}; did you mean {close[0]}?"
        others = sorted(f"{each.__module__}.{each.__qualname__}" for each in self._by_key if _named(each, name))
        return f"{text}; {others[0]} is another class" if others else text


def _named(key: Any, name: str) -> bool:
    return isinstance(key, type) and key.__name__ == name


def _override(key: Any, value: object) -> Recipe:
    if isinstance(value, type):
        recipe = recipe_of_class(value, "singleton")
        return msgspec.structs.replace(recipe, keys=recipe.keys | {key})
    if inspect.isroutine(value):
        return recipe_of_function(cast("Callable[..., Any]", value), key)
    return recipe_of_object(value, key)


def _revive(kind: Any, value: Any) -> Any:
    """Msgspec's hook for classes it does not know, such as `pathlib.Path`: they are made of the value."""
    return value if isinstance(value, kind) else kind(value)


def _joined(origin: str, text: str) -> str:
    """A text that begins with a dot or a parenthesis names a part of its origin."""
    return origin + text if text[0] in ".(" else f"{origin}: {text}"


# --- Scopes: what has been made ---------------------------------------------------------------------------------------


class _Scope:
    """Instances and their clean-up."""

    def __init__(self, graph: _Graph, name: str, grace: float) -> None:
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
        except _UnresolvedError as error:
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

    def advice_of(self, cls: type) -> object:
        """The instance of an advice class."""
        raise NotImplementedError

    async def _resolve(self, argument: _Argument | None) -> Any:
        match argument:
            case Recipe():
                return await self._obtain(argument)
            case _Given(value=value):
                return value
            case _Proxied(kind=kind, preferred_channel=channel):
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
            raise ConfigurationError("cannot finish an object", [_joined(cls.__name__, text) for text in plan.problems])
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

    def __init__(self, graph: _Graph, outer: Injector, grace: float) -> None:
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
        values: ValueSource = _NOTHING,
        services: ServiceSource = _NOTHING,
        grace: float = 30.0,
    ) -> None:
        super().__init__(_Graph(recipes, overrides or {}, values, services), "singleton", grace)
        self._made: dict[type, Recipe] = {}

    def problems(self) -> list[str]:
        """Everything that cannot work, each with the path to it; empty if the injector can start."""
        return list(self._graph.problems)

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
