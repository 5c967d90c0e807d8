"""The graph of all recipes: which one fills which parameter, in which order they run, and what cannot work. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import Any, Final, cast, get_origin

import msgspec

from meshcore.core.marks import MISSING, find_mark
from meshcore.core.suggest import did_you_mean
from meshcore.core.value import Value
from meshcore.declare.advice import AdviceMark
from meshcore.declare.conformity import is_mock
from meshcore.declare.injection import SCOPES, InjectService, InjectValue
from meshcore.declare.services import ServiceMark
from meshcore.inject.arguments import NO_SERVICES, Argument, Constant, Omitted, Proxied, ServiceTypes
from meshcore.inject.dependencies import Dependency, name_of
from meshcore.inject.recipes import (
    Kind,
    Lifecycle,
    Recipe,
    lifecycle_of,
    recipe_of_class,
    recipe_of_function,
    recipe_of_object,
)
from meshcore.inject.values import NO_VALUES, LiveValue, UnresolvedError, ValueLookup, is_live, read_value
from meshcore.inject.weaving import Woven, advice_problems, aspects_of, weave, weaving_problems

_PLAIN: Final = (str, int, float, bool, bytes)


class Plan(msgspec.Struct, frozen=True, eq=False):
    """What is done with each instance of a class after its construction.

    Attributes:
        lifecycle: the marked methods of the class.
        setters: the arguments of its setters; None for one that has a problem.
        woven: the advice for its methods.
        problems: why that cannot work.
    """

    lifecycle: Lifecycle
    setters: tuple[Argument | None, ...]
    woven: Woven
    problems: tuple[str, ...]


class Graph:
    """All recipes and their dependencies. Pure: it makes nothing.

    Args:
        recipes: those of the modules, and any others.
        overrides: by type, an object, or a class or function that makes one. It replaces every recipe that provides
            the type, and the proxy of a service.
        values: looks up the values of `@inject_value`.
        services: tells which types are services.

    Attributes:
        advice: the recipes of advice classes.
        order: all recipes, each after its dependencies. Advice comes first, so that it is ready for what it advises.
        problems: everything that cannot work, each with the path to it; empty if an injector can start.
        live: the values that change with their source; it grows with what is made later.
    """

    def __init__(
        self,
        recipes: Iterable[Recipe],
        *,
        overrides: Mapping[Any, object] = MappingProxyType({}),
        values: ValueLookup = NO_VALUES,
        services: ServiceTypes = NO_SERVICES,
    ) -> None:
        self._values = values
        self._services = services
        self._overrides = frozenset(overrides)
        given = list(recipes)
        kept = [recipe for recipe in given if not recipe.keys & self._overrides]
        every = [*kept, *(_override(key, value) for key, value in overrides.items())]
        self._by_key: dict[Any, list[Recipe]] = {}
        for recipe in every:
            for key in recipe.keys:
                self._by_key.setdefault(key, []).append(recipe)
        self.advice = {each.product: each for each in every if find_mark(each.product, AdviceMark) is not None}
        self._aspects = tuple(aspect for cls in self.advice for aspect in aspects_of(cls))
        self._plans: dict[type, Plan] = {}
        self._arguments: dict[Recipe, tuple[tuple[Argument | None, str], ...]] = {}
        # For each visited recipe, the path to a request-scoped one that it depends on; empty if there is none.
        self._leaks: dict[Recipe, str] = {}
        self.order: list[Recipe] = []
        self.problems: list[str] = []
        self.live: list[LiveValue] = []
        needed = {argument for recipe in every for argument, _ in self.arguments(recipe)}
        # Recipes that no other needs come first: paths that begin there are the easiest to read. Cycles come last.
        for recipe in (*self.advice.values(), *(each for each in every if each not in needed), *every):
            self._visit(recipe, (), self.problems)
        used = {key for recipe in given for key in recipe.keys}
        used |= {dependency.key for recipe in every for dependency, _ in self._dependencies(recipe)}
        used |= {key for key in self._overrides if find_mark(key, AdviceMark) is not None}
        self._unused = self._overrides - used

    def unused_overrides(self, ignored: Collection[object] = ()) -> list[str]:
        """A problem for each override that replaces nothing and that nothing depends on.

        Args:
            ignored: types whose overrides are used outside of the injector.
        """
        unused = sorted(name_of(each) for each in self._unused.difference(ignored))
        known = self._names.difference(unused)
        return [f"the override of {name} replaces nothing{did_you_mean(name, known)}" for name in unused]

    def check(self, recipe: Recipe) -> list[str]:
        """What cannot work in a further recipe, which no other depends on."""
        problems: list[str] = []
        self._visit(recipe, (), problems)
        return problems

    def providers(self, key: Any) -> tuple[Recipe, ...]:
        """The recipes that provide a type. Recipes of exactly this type come before those of subclasses."""
        found = self._by_key.get(key, ())
        return tuple(each for each in found if each.product == key) or tuple(found)

    def arguments(self, recipe: Recipe) -> tuple[tuple[Argument | None, str], ...]:
        """What fills each dependency of a recipe, or None and the reason."""
        if recipe not in self._arguments:
            self._arguments[recipe] = tuple(self._resolve(dependency) for dependency in recipe.dependencies)
        return self._arguments[recipe]

    def plan(self, cls: type) -> Plan:
        """What is done with instances of a class after their construction."""
        if cls not in self._plans:
            lifecycle = lifecycle_of(cls)
            woven = weave(cls, self._aspects)
            problems = [*lifecycle.problems, *advice_problems(cls), *weaving_problems(cls, woven)]
            resolved = [(dependency, *self._resolve(dependency)) for _, dependency in lifecycle.setters]
            problems += [f"{dependency.where}: {problem}" for dependency, _, problem in resolved if problem]
            arguments = tuple(argument for _, argument, _ in resolved)
            self._plans[cls] = Plan(lifecycle, arguments, woven, tuple(problems))
        return self._plans[cls]

    def argument(self, dependency: Dependency) -> Argument:
        """What fills a dependency.

        Raises:
            UnresolvedError: nothing does, or several recipes do.
        """
        if dependency.problem:
            raise UnresolvedError(dependency.problem)
        source, key = dependency.source, dependency.key
        if isinstance(source, InjectValue):
            return self._value(dependency, source)
        if key not in self._overrides and isinstance(key, type):
            if self._services.is_service(key):
                channel = source.preferred_channel if source else ""
                if reason := self._services.why_not(key, channel):
                    raise UnresolvedError(reason)
                return Proxied(key, channel)
            if isinstance(source, InjectService):
                raise UnresolvedError(f"{name_of(key)} is no service")
        match self.providers(key):
            case (recipe,):
                return recipe
            case ():
                return self._without_provider(dependency)
            case several:
                places = ", ".join(sorted(each.place for each in several))
                raise UnresolvedError(f"several provide {name_of(key)}, and none is exactly that: {places}")

    def _without_provider(self, dependency: Dependency) -> Argument:
        if dependency.default is not MISSING:
            # Left out where that is possible: the default may stand for what a factory makes.
            return Omitted() if dependency.keyword else Constant(dependency.default)
        if dependency.optional:
            return Constant(None)
        raise UnresolvedError(self._why_missing(dependency.key))

    def _resolve(self, dependency: Dependency) -> tuple[Argument | None, str]:
        try:
            return self.argument(dependency), ""
        except UnresolvedError as error:
            return (Omitted(str(error)), "") if dependency.handed_on else (None, str(error))

    def _value(self, dependency: Dependency, mark: InjectValue) -> Argument:
        read = partial(read_value, dependency, mark)
        raw = self._values.lookup(mark.key)
        initial = read(raw)
        if not is_live(dependency.key):
            if raw is MISSING and mark.default is MISSING and dependency.default is not MISSING and dependency.keyword:
                return Omitted()
            return Constant(initial)
        live = LiveValue(mark.key, Value(initial), read)
        self.live.append(live)
        return Constant(live.value)

    def _visit(self, recipe: Recipe, trail: tuple[tuple[Recipe, str], ...], problems: list[str]) -> None:
        """Check a recipe after all that it depends on (depth first), and add it to the order."""
        if recipe in self._leaks:
            return
        self._leaks[recipe] = recipe.origin if recipe.scope == "request" else ""
        path = "".join(f"{step} > " for _, step in trail)
        problems += [path + problem_text(recipe.origin, text) for text in self._own_problems(recipe)]
        for dependency, (argument, problem) in self._dependencies(recipe):
            step = recipe.origin + dependency.where
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

    def _planned(self, recipe: Recipe) -> Plan | None:
        """What is done with the product of a recipe, as far as its declared type tells: it may be of a subclass."""
        if recipe.kind is Kind.EXISTING or not isinstance(recipe.product, type):
            return None
        return self.plan(recipe.product)

    def _own_problems(self, recipe: Recipe) -> Iterator[str]:
        """The problems of a recipe, without those of its dependencies."""
        yield from recipe.problems
        if recipe.scope not in SCOPES:
            yield f"there is no scope {recipe.scope!r}{did_you_mean(recipe.scope, SCOPES)}"
        if plan := self._planned(recipe):
            yield from plan.problems

    def _dependencies(self, recipe: Recipe) -> Iterator[tuple[Dependency, tuple[Argument | None, str]]]:
        """All dependencies of a recipe's finished product, and what fills them."""
        yield from zip(recipe.dependencies, self.arguments(recipe), strict=True)
        if plan := self._planned(recipe):
            for (_, dependency), argument in zip(plan.lifecycle.setters, plan.setters, strict=True):
                yield dependency, (argument, "")  # the plan holds the problem
            for cls in dict.fromkeys(aspect.advice for aspects in plan.woven.values() for aspect in aspects):
                dependency = Dependency(where=" (by its advice)", hint=cls, key=cls)
                yield dependency, self._resolve(dependency)

    @property
    def _names(self) -> set[str]:
        """The names of all types that can be requested."""
        return {name_of(each) for each in self._by_key}

    def _why_missing(self, key: Any) -> str:
        name = name_of(key)
        if key in _PLAIN or is_live(key):
            return f'nothing provides {name}; for a setting write Annotated[{name}, inject_value("...")]'
        text = f"nothing provides {name}; add @injectable to it, or a @create method to a module"
        bases: tuple[type, ...] = (get_origin(key) or key).__mro__ if isinstance(get_origin(key) or key, type) else ()
        general = [each for base in bases for each in self._by_key.get(base, ()) if each.product is base]
        if general:
            return f"{text}; {general[0].origin} provides only {name_of(general[0].product)}"
        close = get_close_matches(name, sorted(self._names - {name}), n=1)
        if close:
            return f"{text}; did you mean {close[0]}?"
        others = sorted(f"{each.__module__}.{each.__qualname__}" for each in self._by_key if _named(each, name))
        return f"{text}; {others[0]} is another class" if others else text


def _named(key: Any, name: str) -> bool:
    return isinstance(key, type) and key.__name__ == name


def _override(key: Any, value: object) -> Recipe:
    if is_mock(value):  # before all others: it is whatever its `spec` is
        return recipe_of_object(value, key)
    if isinstance(value, type):
        recipe = recipe_of_class(value, "singleton", [key] if find_mark(key, ServiceMark) is not None else [])
        return msgspec.structs.replace(recipe, keys=recipe.keys | {key})
    if inspect.isroutine(value):
        return recipe_of_function(cast("Callable[..., Any]", value), key)
    return recipe_of_object(value, key)


def problem_text(origin: str, text: str) -> str:
    """The text of a problem behind its origin. A text that begins with a dot or a parenthesis names a part of it."""
    return origin + text if text[0] in ".(" else f"{origin}: {text}"
