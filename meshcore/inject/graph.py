"""The graph of the injector: which recipe answers which parameter, in which order, and what cannot work. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol, cast, get_origin

import msgspec

from meshcore.core.marks import MISSING, find_mark
from meshcore.core.suggest import did_you_mean
from meshcore.core.value import Value
from meshcore.declare.advice import AdviceMark
from meshcore.declare.injection import SCOPES, InjectService, InjectValue
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
from meshcore.inject.values import Live, UnresolvedError, ValueLookup, is_live, read_value
from meshcore.inject.weaving import Woven, advice_problems, aspects_of, weave, weaving_problems

_PLAIN: Final = (str, int, float, bool, bytes)


class ServiceTypes(Protocol):
    """Tells which types are services: parameters of such a type are given a proxy."""

    def is_service(self, kind: type) -> bool:
        """Whether the type is a service."""
        ...

    def why_not(self, kind: type, preferred_channel: str) -> str:
        """Why the service cannot be called over the channel; empty if it can."""
        ...


class _NoValues:
    """The values of a graph that is given none."""

    def lookup(self, key: str) -> object:  # noqa: ARG002
        return MISSING


class _NoServices:
    """The services of a graph that is given none."""

    def is_service(self, kind: type) -> bool:  # noqa: ARG002
        return False

    def why_not(self, kind: type, preferred_channel: str) -> str:  # noqa: ARG002
        return "there are no services"


_NO_VALUES: Final = _NoValues()
_NO_SERVICES: Final = _NoServices()


class Given(msgspec.Struct, frozen=True, eq=False):
    """An argument that is known beforehand: a value of the settings, a default, or None."""

    value: object


class Proxied(msgspec.Struct, frozen=True, eq=False):
    """An argument that is a service."""

    kind: type
    preferred_channel: str


Argument = Recipe | Given | Proxied


class Plan(msgspec.Struct, frozen=True, eq=False):
    """What happens to each instance of a class once it is constructed."""

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
        values: ValueLookup = _NO_VALUES,
        services: ServiceTypes = _NO_SERVICES,
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
        self._answers: dict[Recipe, tuple[tuple[Argument | None, str], ...]] = {}
        # For each recipe that was visited the path to a request-scoped one that it needs, empty if there is none.
        self._leaks: dict[Recipe, str] = {}
        self.order: list[Recipe] = []
        self.problems: list[str] = []
        self.live: list[Live] = []
        needed = {argument for recipe in every for argument, _ in self.answers(recipe)}
        # A path is easiest to follow from something that nobody needs; what is in a cycle is found last.
        for recipe in (*self.advice.values(), *(each for each in every if each not in needed), *every):
            self._visit(recipe, (), self.problems)
        used = {key for recipe in given for key in recipe.keys}
        used |= {need.key for recipe in every for need, _ in self._needs(recipe)}
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
        """What cannot work in one more recipe; it becomes nobody's argument."""
        problems: list[str] = []
        self._visit(recipe, (), problems)
        return problems

    def providers(self, key: Any) -> tuple[Recipe, ...]:
        """The recipes that provide a type; recipes for exactly this type outdo those for its subclasses."""
        found = self._by_key.get(key, ())
        return tuple(each for each in found if each.product == key) or tuple(found)

    def answers(self, recipe: Recipe) -> tuple[tuple[Argument | None, str], ...]:
        """What a recipe is called with, or None and the reason."""
        if recipe not in self._answers:
            self._answers[recipe] = tuple(self._try(need) for need in recipe.dependencies)
        return self._answers[recipe]

    def plan(self, cls: type) -> Plan:
        """What happens to instances of a class."""
        if cls not in self._plans:
            lifecycle = lifecycle_of(cls)
            woven = weave(cls, self._aspects)
            problems = [*lifecycle.problems, *advice_problems(cls), *weaving_problems(cls, woven)]
            answers = [(need, *self._try(need)) for _, need in lifecycle.setters]
            problems += [f"{need.where}: {problem}" for need, _, problem in answers if problem]
            arguments = tuple(argument for _, argument, _ in answers)
            self._plans[cls] = Plan(lifecycle, arguments, woven, tuple(problems))
        return self._plans[cls]

    def answer(self, need: Dependency) -> Argument:
        """What answers a dependency.

        Raises:
            UnresolvedError: nothing does, or several do.
        """
        if need.problem:
            raise UnresolvedError(need.problem)
        if isinstance(need.source, InjectValue):
            return self._value(need, need.source)
        key = need.key
        if key not in self._overrides and isinstance(key, type):
            if self._services.is_service(key):
                channel = need.source.preferred_channel if need.source else ""
                if reason := self._services.why_not(key, channel):
                    raise UnresolvedError(reason)
                return Proxied(key, channel)
            if isinstance(need.source, InjectService):
                raise UnresolvedError(f"{name_of(key)} is no service")
        match self.providers(key):
            case (recipe,):
                return recipe
            case ():
                if need.default is not MISSING or need.optional:
                    return Given(None if need.default is MISSING else need.default)
                raise UnresolvedError(self._why_missing(key))
            case several:
                places = ", ".join(sorted(each.place for each in several))
                raise UnresolvedError(f"several provide {name_of(key)}, and none is exactly that: {places}")

    def _try(self, need: Dependency) -> tuple[Argument | None, str]:
        try:
            return self.answer(need), ""
        except UnresolvedError as error:
            return None, str(error)

    def _value(self, need: Dependency, mark: InjectValue) -> Argument:
        read = partial(read_value, need, mark)
        initial = read(self._values.lookup(mark.key))
        if not is_live(need.key):
            return Given(initial)
        live = Live(mark.key, Value(initial), read)
        self.live.append(live)
        return Given(live.value)

    def _visit(self, recipe: Recipe, trail: tuple[tuple[Recipe, str], ...], problems: list[str]) -> None:
        """Depth first: check a recipe after all that it needs, and put it in the order."""
        if recipe in self._leaks:
            return
        self._leaks[recipe] = recipe.origin if recipe.scope == "request" else ""
        path = "".join(f"{step} > " for _, step in trail)
        problems += [path + joined(recipe.origin, text) for text in self._declared(recipe)]
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

    def _planned(self, recipe: Recipe) -> Plan | None:
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

    def _needs(self, recipe: Recipe) -> Iterator[tuple[Dependency, tuple[Argument | None, str]]]:
        """All that has to be there before a product is finished, with the answers."""
        yield from zip(recipe.dependencies, self.answers(recipe), strict=True)
        if plan := self._planned(recipe):
            for (_, need), argument in zip(plan.lifecycle.setters, plan.setters, strict=True):
                yield need, (argument, "")  # the problem is among the plan's
            for cls in dict.fromkeys(aspect.advice for aspects in plan.woven.values() for aspect in aspects):
                need = Dependency(where=" (by its advice)", hint=cls, key=cls)
                yield need, self._try(need)

    @property
    def _names(self) -> set[str]:
        """The names of all types that can be asked for."""
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
    if isinstance(value, type):
        recipe = recipe_of_class(value, "singleton")
        return msgspec.structs.replace(recipe, keys=recipe.keys | {key})
    if inspect.isroutine(value):
        return recipe_of_function(cast("Callable[..., Any]", value), key)
    return recipe_of_object(value, key)


def joined(origin: str, text: str) -> str:
    """A text that begins with a dot or a parenthesis names a part of its origin."""
    return origin + text if text[0] in ".(" else f"{origin}: {text}"
