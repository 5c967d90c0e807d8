"""Reads what the modules of a mesh declare, and finds every mistake in it."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from meshcore.core.description import ComponentDescription, HostedComponent, ServiceDescription
from meshcore.core.errors import ConfigurationError
from meshcore.core.marks import find_mark
from meshcore.declare.conformity import conformity_problems, is_mock, mock_problems
from meshcore.declare.placement import class_problems, member_problems
from meshcore.declare.reader import describe_component, describe_service
from meshcore.declare.services import ChannelMark, ComponentMark, HealthMark, ImplementationMark, ServiceMark
from meshcore.inject.modules import ModuleDescription, not_provided
from meshcore.ports.channel import Channel
from meshcore.wire.endpoints import RESERVED_PATHS


class Catalog:
    """The declarations of a mesh.

    Attributes:
        hosted: the components that the modules implement.
        implementations: the classes that implement services, by interface.
        channels: the channel classes of the modules, by name.
        problems: all mistakes.
    """

    def __init__(
        self, modules: Sequence[ModuleDescription], overrides: Mapping[Any, object] = MappingProxyType({})
    ) -> None:
        """Read the declarations.

        Args:
            modules: those of the mesh, imported ones first.
            overrides: what replaces implementations, by interface.
        """
        self.problems: list[str] = []
        self._mistakes: dict[type, list[str]] = {}  # in services and components, by interface
        self._services: dict[type, ServiceDescription] = {}
        self._components: dict[type, ComponentDescription] = {}
        self.implementations: dict[type, type] = {}
        self.channels: dict[str, type[Channel]] = {}
        self.hosted: tuple[HostedComponent, ...] = ()
        self._named: dict[type, ComponentDescription] = {}
        self._not_provided = not_provided(modules)
        classes = tuple(dict.fromkeys(cls for each in modules for cls in each.classes))
        self._read_channels(classes)
        self._read_named(modules)
        self._read_implementations(classes)
        self._read_overrides(overrides)
        self._check_hosted(overrides)
        self._check_paths()
        self.problems = [*(text for texts in self._mistakes.values() for text in texts), *self.problems]

    def service(self, interface: type) -> ServiceDescription:
        """The description of a service. It is made once, so that its methods can be compared by identity."""
        description = self._services.get(interface)
        if description is None:
            mistakes = self._mistakes[interface] = []
            description = self._services[interface] = describe_service(interface, mistakes)
        return description

    def component(self, interface: type) -> ComponentDescription:
        """The description of a component."""
        description = self._components.get(interface)
        if description is None:
            mistakes = self._mistakes[interface] = []
            description = self._components[interface] = describe_component(interface, mistakes, self.service)
        return description

    @property
    def named(self) -> tuple[ComponentDescription, ...]:
        """The components that the modules implement or name."""
        return tuple(dict.fromkeys([*(hosted.component for hosted in self.hosted), *self._named.values()]))

    @property
    def described(self) -> tuple[ComponentDescription, ...]:
        """All components that were described so far: of the modules, and of the Python modules of services."""
        return tuple(self._components.values())

    def component_of(self, interface: type) -> ComponentDescription:
        """The component that offers a service.

        Raises:
            ConfigurationError: none does, or several do. The text says what a module has to name.
        """
        found = self._components_offering(interface)
        name = interface.__qualname__
        described = [interface, *(component.interface for component in found)]
        if mistakes := [text for each in described for text in self._mistakes.get(each, ())]:
            raise ConfigurationError(f"{name} cannot be called", mistakes)
        if not found:
            reason = f"no component offers {name}; name the one that does: @module(components=[...])"
            raise ConfigurationError(f"{name} cannot be called", [reason])
        if len(found) > 1:
            names = ", ".join(component.interface.__qualname__ for component in found)
            reason = f"several components offer {name}: {names}; name the one to call: @module(components=[...])"
            raise ConfigurationError(f"{name} cannot be called", [reason])
        return found[0]

    def component_name(self, interface: type) -> str:
        """The name of the component that offers a service; empty if none does, or several do."""
        found = self._components_offering(interface)
        return found[0].name if len(found) == 1 else ""

    def _imported_only(self, *interfaces: type) -> str:
        """What to do about implementations that were imported but are not provided."""
        return "".join(
            f"; {text}" for cls, text in self._not_provided.items() if any(each in cls.__mro__ for each in interfaces)
        )

    @property
    def partly_here(self) -> tuple[ComponentDescription, ...]:
        """The components that the modules implement or name, and those of the services that they implement."""
        offering = [each for interface in self.implementations for each in self._components_offering(interface)]
        return tuple(dict.fromkeys([*self._named.values(), *offering]))

    def why_not_hosted(self, component: ComponentDescription) -> str:
        """Why this process does not serve a component although it has parts of it; empty if there are none."""
        if any(hosted.component is component for hosted in self.hosted):
            return ""
        services = [service.interface for service in component.services]
        text = self._imported_only(component.interface, *services)
        names = [cls.__qualname__ for interface, cls in self.implementations.items() if interface in services]
        if names and not text:
            name = component.interface.__qualname__
            text = (
                f"; {', '.join(names)} is here, but {name} has no implementation: add @implementation() "
                f"class {name}Impl(AbstractComponent, {name})"
            )
        return text

    def why_nothing_is_served(self) -> str:
        """Why this process serves no component; empty if it serves one."""
        if self.hosted:
            return ""
        found = [text for component in self.partly_here if (text := self.why_not_hosted(component))]
        texts = dict.fromkeys(found or [f"; {text}" for text in self._not_provided.values()])
        return "it implements no component" + (
            "".join(texts) or "; add the @implementation of one, or import its module"
        )

    def _components_offering(self, interface: type) -> list[ComponentDescription]:
        """The components of the modules that offer a service; else those in the Python module of the service."""
        named = [component for component in self._named.values() if _offers(component, interface)]
        if named:
            return named
        beside = vars(sys.modules[interface.__module__]).values() if interface.__module__ in sys.modules else ()
        candidates = [
            cls
            for cls in beside
            if isinstance(cls, type) and (mark := find_mark(cls, ComponentMark)) and interface in mark.services
        ]
        return [self.component(cls) for cls in dict.fromkeys(candidates)]

    def _read_channels(self, classes: Iterable[type]) -> None:
        for cls in classes:
            mark = find_mark(cls, ChannelMark)
            if mark is None:
                continue
            if mark.name in self.channels:
                other = self.channels[mark.name].__qualname__
                self.problems.append(f"two channels are called {mark.name!r}: {other} and {cls.__qualname__}")
            if not issubclass(cls, Channel):
                self.problems.append(f"{cls.__qualname__} is decorated with @channel, but does not derive from Channel")
                continue
            self.channels[mark.name] = cls

    def _read_named(self, modules: Iterable[ModuleDescription]) -> None:
        for each in modules:
            for interface in each.components:
                self._named[interface] = self.component(interface)

    def _read_implementations(self, classes: Iterable[type]) -> None:
        hosted: dict[type, HostedComponent] = {}
        for cls in classes:
            self.problems += [*class_problems(cls), *member_problems(cls)]
            if find_mark(cls, ImplementationMark) is None:
                continue
            services = [base for base in cls.__mro__[1:] if find_mark(base, ServiceMark)]
            components = [base for base in cls.__mro__[1:] if find_mark(base, ComponentMark)]
            if not services and not components:
                self.problems.append(
                    f"{cls.__qualname__} is an @implementation, but none of its bases is a @service or @component"
                )
            for interface in services:
                other = self.implementations.setdefault(interface, cls)
                if other is not cls:
                    self.problems.append(_two_implementations(interface, other, cls))
                self.problems += conformity_problems(self.service(interface), cls)
            for interface in components:
                health = find_mark(cls, HealthMark)
                new = HostedComponent(self.component(interface), cls, health.path if health else "")
                other_hosted = hosted.setdefault(interface, new)
                if other_hosted is not new:
                    self.problems.append(_two_implementations(interface, other_hosted.implementation, cls))
                self._named[interface] = new.component
        self.hosted = tuple(hosted.values())

    def _read_overrides(self, overrides: Mapping[Any, object]) -> None:
        for interface, value in overrides.items():
            if find_mark(interface, ServiceMark) is not None:
                description = self.service(interface)
                if is_mock(value):
                    self.problems += mock_problems(description, value)
                elif not inspect.isroutine(value):  # the class of what a function makes is not known yet
                    cls = value if isinstance(value, type) else type(value)
                    self.problems += conformity_problems(description, cls)

    def _check_hosted(self, overrides: Mapping[Any, object]) -> None:
        for hosted in self.hosted:
            missing = [
                service.interface
                for service in hosted.component.services
                if service.interface not in {*self.implementations, *overrides} and service.methods
            ]
            self.problems += [
                f"component {hosted.component.name!r} is implemented by {hosted.implementation.__qualname__}, "
                f"but nothing here implements its service {service.__qualname__}{self._imported_only(service)}"
                for service in missing
            ]
        for interface, implementation in self.implementations.items():
            if not self._components_offering(interface):
                self.problems.append(
                    f"{implementation.__qualname__} implements {interface.__qualname__}, which is in no component; "
                    "add it to a @component(services=[...])"
                )
        names: dict[str, ComponentDescription] = {}
        for component in self._named.values():
            other = names.setdefault(component.name, component)
            if other is not component:
                first, second = other.interface.__qualname__, component.interface.__qualname__
                self.problems.append(f"two components are called {component.name!r}: {first} and {second}")

    def _check_paths(self) -> None:
        taken = dict.fromkeys(RESERVED_PATHS, "the server itself")
        for hosted in self.hosted:
            routes = [
                (method.http.verb, method.http.path, f"{service.interface.__qualname__}.{method.name}")
                for service in hosted.component.services
                for method in service.methods
                if method.http is not None
            ]
            if hosted.health_path:
                routes.append(("GET", hosted.health_path, f"@health of {hosted.implementation.__qualname__}"))
            if hosted.health_path and not hosted.health_path.startswith("/"):
                place = f"@health of {hosted.implementation.__qualname__}"
                self.problems.append(f"{place}: path {hosted.health_path!r} has to begin with a slash")
            for verb, path, owner in routes:
                pattern = re.sub(r"\{\w+\}", "{}", path)
                other = taken.setdefault((verb, pattern), owner)
                if other != owner:
                    self.problems.append(f"{owner}: {verb} {path} is taken by {other}")


def _offers(component: ComponentDescription, interface: type) -> bool:
    return any(service.interface is interface for service in component.services)


def _two_implementations(interface: type, first: type, second: type) -> str:
    return f"{interface.__qualname__} has two implementations: {first.__qualname__} and {second.__qualname__}"
