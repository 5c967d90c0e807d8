"""What the commands do, once their words are read: look up and explain."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from meshcore.app import load_module
from meshcore.catalog import Catalog
from meshcore.errors import CommunicationError, ConfigurationError
from meshcore.injection import ModuleMark, module
from meshcore.interface import ComponentDescription, Method, ServiceDescription
from meshcore.marks import find_mark
from meshcore.mesh import Mesh
from meshcore.modules import modules_of
from meshcore.openapi import document_of
from meshcore.printing import make_console, print_json, say, table
from meshcore.served import find_served
from meshcore.settings import Settings
from meshcore.suggest import did_you_mean
from meshcore.why import Explanation

_LOOK = 2.0
"""Seconds in which a registry that knows an instance has told it."""


async def explain(settings: Settings, typed: str, channel: str, *, as_json: bool = False) -> None:
    """Print why a call of what was typed goes where it goes."""
    client, service, method = await client_of(settings, typed)
    async with Mesh(client, settings=settings) as mesh:
        with suppress(CommunicationError):  # the explanation says so
            await mesh.wait_for(service.interface, timeout=_LOOK)
            if settings.module:  # else there is nothing of our own to compare with
                component = mesh.runtime.catalog.component_of(service.interface)
                await mesh.runtime.routes.compare_contracts(component)
        found = mesh.why(service.interface, method.name, channel)
    if not settings.module:
        found = msgspec.structs.replace(found, contract=())
    if as_json:
        print_json(_plain(found))
        return
    screen = make_console()
    screen.print(f"{found.method} of {found.component}, over {found.channel or 'no channel'}: {found.choice}")
    rules = table("rule", "value", "from")
    for name, (value, source) in found.rules.items():
        rules.add_row(name, str(value), source)
    screen.print(rules)
    if found.problem:
        screen.print(found.problem)
        return
    instances = table("instance", "url", "zone", "weight", "state")
    for each in found.instances:
        instances.add_row(each.instance, each.url, each.zone, str(each.weight), each.state)
    screen.print(instances)
    for remark in found.contract:
        screen.print(remark)


def _plain(found: Explanation) -> dict[str, Any]:
    rules = {name: {"value": value, "from": source} for name, (value, source) in found.rules.items()}
    plain: dict[str, Any] = msgspec.to_builtins({**msgspec.structs.asdict(found), "rules": rules})
    return plain


def print_document(settings: Settings) -> None:
    """Print the OpenAPI document of a module."""
    document = document_of(components_of(load_module(settings)), version=settings.version)
    say(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


async def client_of(settings: Settings, typed: str) -> tuple[type, ServiceDescription, Method]:
    """A module for a client, and the method that it is to call; without a module of the user's, as servers tell it."""
    if settings.module:
        components = components_of(load_module(settings))
    else:
        _, component = await find_served(settings, typed)
        components = components_of(module(components=[component])(type("Served", (), {})))
    service, method = _find([service for component in components for service in component.services], typed)
    # Only what is declared, without the implementations: those run elsewhere.
    client = module(components=[component.interface for component in components])(type("Client", (), {}))
    return client, service, method


def components_of(module_class: type) -> list[ComponentDescription]:
    """The components that a module implements or names."""
    catalog = Catalog(module_class)
    named = [mark.components for each in modules_of(module_class) if (mark := find_mark(each, ModuleMark))]
    interfaces = [
        *(hosted.component.interface for hosted in catalog.hosted),
        *(each for part in named for each in part),
    ]
    components = [catalog.component(interface) for interface in dict.fromkeys(interfaces)]
    if catalog.problems:
        raise ConfigurationError(f"{module_class.__qualname__} cannot be used", catalog.problems)
    return components


def _find(services: list[ServiceDescription], typed: str) -> tuple[ServiceDescription, Method]:
    """The method called `service.method`."""
    title = f"cannot call {typed!r}"
    service_name, _, method_name = typed.rpartition(".")
    service = next((service for service in services if service.name == service_name), None)
    if service is None:
        names = {f"{service.name}.{method.name}" for service in services for method in service.methods}
        raise ConfigurationError(title, [f"no such service{did_you_mean(typed, names)}"])
    method = service.method(method_name)
    if method is None:
        names = {method.name for method in service.methods}
        raise ConfigurationError(
            title, [f"{service_name} has no method {method_name!r}{did_you_mean(method_name, names)}"]
        )
    return service, method
