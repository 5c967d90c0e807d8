"""What the modules and settings of a mesh declare: read and checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from itertools import chain

from meshcore.asgi.rest_arguments import RequestReader
from meshcore.client.policies import Policies
from meshcore.codec.codec import Limits
from meshcore.core.call import Interceptors
from meshcore.core.description import Method, Shape
from meshcore.core.errors import Code, ConfigurationError, LocalError
from meshcore.core.marks import find_mark
from meshcore.core.settings import Settings
from meshcore.core.suggest import did_you_mean
from meshcore.declare.health import HealthCheckManager, HealthChecksMark, health_problems
from meshcore.declare.services import ComponentMark, ServiceMark
from meshcore.inject.graph import Graph
from meshcore.inject.modules import ModuleDescription, describe_modules, recipes_of_modules
from meshcore.inject.recipes import Recipe, recipe_of_class, recipe_of_function, recipe_of_object
from meshcore.mesh.catalog import Catalog
from meshcore.mesh.live_values import LiveValues
from meshcore.mesh.security.identity import identity_source
from meshcore.ports.channel import LOCAL, Channel
from meshcore.ports.identity import IdentitySource
from meshcore.ports.installed import installed_channels, load_channel, make_registry, make_value_source
from meshcore.ports.registry import ComponentRegistry
from meshcore.ports.values import ValueSource
from meshcore.security.tokens.verifier import TokenVerifier


class Blueprint:
    """Everything that a mesh is built from. Immutable; reading it starts nothing.

    Args:
        module: a class decorated with `@module`.
        settings: of the mesh.
        overrides: by type, what replaces a service, an implementation or another object: for tests.

    Attributes:
        catalog: the services, components, implementations and channels of the modules.
        channels: all channels that are known, by name: classes of the modules, entry points of installed packages.
        policies: the numbers that govern calls.
        recipes: how the injector makes everything.
        registry_url: of the registry that the settings name; empty if a module or an override provides another.
        value_source: where values come from that may change; None if there is none.
        identity_source: gives this process its certificates; None for no TLS of the mesh.
    """

    def __init__(self, module: type, settings: Settings, overrides: Mapping[type, object]) -> None:
        self.module = module
        self.settings = settings
        self.overrides = overrides
        modules = describe_modules(module)
        self.catalog = Catalog(modules, overrides)
        self.channels: Mapping[str, type[Channel] | EntryPoint] = {**installed_channels(), **self.catalog.channels}
        self.policies = Policies(settings)
        problems = [*self.catalog.problems, *self.policies.problems(self.catalog.described)]
        self.value_source = _value_source(settings, overrides, problems)
        self.identity_source = identity_source(settings, overrides, problems)
        recipes = self._declared_recipes(modules, problems)
        registry = _registry(settings, recipes, overrides, problems)
        self.registry_url = settings.registry if registry is not None else ""
        if registry is not None:
            recipes.append(recipe_of_object(registry, ComponentRegistry))
        self.recipes = tuple(recipes)
        self._problems = tuple(problems)

    @property
    def caller(self) -> str:
        """How this process calls itself towards those that it calls: the components that it serves, else its module."""
        return ",".join(hosted.component.name for hosted in self.catalog.hosted) or self.module.__name__

    def _declared_recipes(self, modules: Iterable[ModuleDescription], problems: list[str]) -> list[Recipe]:
        recipes = [
            *recipes_of_modules(modules),
            recipe_of_object(self.settings),
            recipe_of_function(_health_check_manager, HealthCheckManager),
            # A channel is made at the first call to a component. It is listed here so that its constructor is checked.
            *(recipe_of_class(cls, "transient") for cls in self.catalog.channels.values()),
        ]
        for recipe in recipes:
            if isinstance(recipe.product, type) and find_mark(recipe.product, HealthChecksMark) is not None:
                problems += health_problems(recipe.product)
        return recipes

    async def graph(self, values: LiveValues) -> Graph:
        """How the injector makes everything; checked, together with everything else.

        Raises:
            ConfigurationError: with everything that keeps the mesh from starting.
        """
        graph, problems = await self._check(values)
        if problems:
            raise ConfigurationError(f"{self.module.__name__} cannot start", problems)
        return graph

    async def serving_problems(self) -> list[str]:
        """Everything that keeps this module from being served. Nothing is started."""
        async with LiveValues(self.settings, self.value_source) as values:
            _, problems = await self._check(values)
        for hosted in self.catalog.hosted:
            for method in (method for service in hosted.component.services for method in service.methods):
                if method.http is not None:
                    try:
                        RequestReader(method, Limits())
                    except ConfigurationError as error:
                        problems += error.problems
        return list(dict.fromkeys(problems))

    async def _check(self, values: LiveValues) -> tuple[Graph, list[str]]:
        graph = self._graph(values)
        if values.source_needed:
            # Some values come from the source only. Start it, and look all values up again.
            await values.start_source()
            graph = self._graph(values)
        problems = [*self._problems, *graph.problems]
        # Overrides of these types take effect outside of the injector.
        elsewhere = {kind for kind in self.overrides if self.is_service(kind) or _is_collected(kind)}
        problems += graph.unused_overrides({*elsewhere, ComponentRegistry, ValueSource, IdentitySource})
        try:
            self.check_channel(self.settings.preferred_channel)
        except LocalError as error:
            problems.append(f"setting preferred_channel: {error.message}")
        return graph, list(dict.fromkeys(problems))

    def _graph(self, values: LiveValues) -> Graph:
        return Graph(self.recipes, overrides=self.overrides, values=values, services=self)

    def is_local(self, interface: type) -> bool:
        """Whether the service is implemented in this process."""
        return interface in self.catalog.implementations or interface in self.overrides

    def is_service(self, kind: type) -> bool:
        """Whether the type is a service interface."""
        return find_mark(kind, ServiceMark) is not None

    def services_of(self, kind: type) -> list[type]:
        """The services that a component offers or a class implements; none of any other type."""
        classes: list[type] = [each for each in getattr(kind, "__mro__", ()) if isinstance(each, type)]
        offered = [mark.services for each in classes if (mark := find_mark(each, ComponentMark)) is not None]
        return [*chain(*offered), *filter(self.is_service, classes)]

    def channel_for(self, interface: type, preferred_channel: str) -> str:
        """The channel that calls must use: "local" for an implementation in this process, empty for any channel."""
        return LOCAL if self.is_local(interface) and not preferred_channel else preferred_channel

    def why_not(self, kind: type, preferred_channel: str) -> str:
        """Why the service cannot be called over the channel; empty if it can."""
        try:
            self.check_service(kind, preferred_channel)
        except ConfigurationError as error:
            return "; ".join(error.problems)
        except LocalError as error:
            return error.message
        return ""

    def check_service(self, interface: type, preferred_channel: str) -> None:
        """Check that the service can be called over the channel.

        Raises:
            ConfigurationError: it is not known which component offers the service.
            LocalError: there is no such channel, or a method streams and the channel cannot carry that.
        """
        channel = self.channel_for(interface, preferred_channel)
        if channel != LOCAL:
            self.check_channel(channel)
            self.catalog.component_of(interface)
            self._check_methods(interface, channel)
        elif not self.is_local(interface):
            text = f"{interface.__qualname__} is not implemented in this process, so there is no channel 'local' to it"
            raise LocalError(Code.UNAVAILABLE, text)

    def _check_methods(self, interface: type, channel: str) -> None:
        """Check that the channel, or any if it is empty, carries all streams of a service, and one of its methods."""
        methods = self.catalog.service(interface).methods
        left_out = [each for each in methods if channel and self._why_not(channel, each)]
        for method in methods:
            if method.shape is Shape.UNARY and len(left_out) < len(methods):
                continue  # others of the service can be called; this one says so at the call
            able = self.carriers(method)
            if channel not in able if channel else not able:
                what = self._why_not(channel, method) if channel else f"is a {method.shape.value}"
                over = f"which channel {channel!r} cannot carry" if channel else "which no channel here can carry"
                text = f"{method} {what}, {over}; it can be called over: {', '.join([LOCAL, *able])}"
                raise LocalError(Code.UNIMPLEMENTED, text)

    def _why_not(self, channel: str, method: Method) -> str:
        """Why a channel cannot carry the calls of a method, empty if it can. The channel is loaded."""
        return _channel_class(self.channels[channel]).why_not(method)

    def carriers(self, method: Method) -> list[str]:
        """The names of the channels that carry the calls of a method. It loads all channels that are installed."""
        return sorted(name for name in self.channels if not self._why_not(name, method))

    def check_channel(self, name: str) -> None:
        """Check that there is a channel of that name; the empty name stands for any channel.

        Raises:
            LocalError: there is none.
        """
        known = {*self.channels, LOCAL}
        if name and name not in known:
            raise LocalError(Code.INVALID_ARGUMENT, f"no channel {name!r}{did_you_mean(name, known)}")


def _channel_class(found: type[Channel] | EntryPoint) -> type[Channel]:
    return load_channel(found) if isinstance(found, EntryPoint) else found


def _value_source(settings: Settings, overrides: Mapping[type, object], problems: list[str]) -> ValueSource | None:
    """The value source of the overrides, else that of the settings."""
    if ValueSource in overrides:
        source = overrides[ValueSource]
        if isinstance(source, ValueSource):
            return source
        problems.append(f"the override of ValueSource has to be an object that is one, got {source!r}")
    elif settings.value_source:
        try:
            return make_value_source(settings.value_source)
        except ValueError as error:
            problems.append(f"setting value_source: {error}")
    return None


def _registry(
    settings: Settings, recipes: list[Recipe], overrides: Mapping[type, object], problems: list[str]
) -> ComponentRegistry | None:
    """The registry of the settings; None if a recipe or an override provides another."""
    if ComponentRegistry in overrides or any(ComponentRegistry in recipe.keys for recipe in recipes):
        return None
    try:
        return make_registry(settings.registry)
    except ValueError as error:
        problems.append(f"setting registry: {error}")
        return None


def _health_check_manager(settings: Settings) -> HealthCheckManager:
    return HealthCheckManager(longest=settings.request_timeout)


def _is_collected(kind: type) -> bool:
    """Whether the mesh collects all objects of the type, so that nothing has to depend on one."""
    return issubclass(kind, Interceptors | TokenVerifier) or find_mark(kind, HealthChecksMark) is not None
