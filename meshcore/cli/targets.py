"""Finds the method that a command names: in the user's module, or in the contracts that servers publish."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp

from meshcore.client.contract_fetch import fetch_component
from meshcore.contract.contract import (
    ComponentContract,
    Contract,
    MethodContract,
    ServiceContract,
    contract_of,
    digests_of,
)
from meshcore.contract.reader import component_contract
from meshcore.contract.stub import stub_of
from meshcore.core.description import ComponentDescription, Method, ServiceDescription
from meshcore.core.errors import Code, CommunicationError, ConfigurationError
from meshcore.core.instances import Instance
from meshcore.core.settings import Settings
from meshcore.core.suggest import did_you_mean
from meshcore.declare.injection import module
from meshcore.inject.modules import describe_modules
from meshcore.mesh.blueprint import Blueprint
from meshcore.mesh.catalog import Catalog
from meshcore.mesh.security.asking import asking
from meshcore.ports.installed import make_registry
from meshcore.serve.module_loader import load_module

_CONCURRENCY = 20
_HINT = "or name the module that declares the service: --module package.module:Class, or MESHCORE_MODULE"


async def find_served(settings: Settings, typed: str) -> tuple[type, type]:
    """Find a method, typed as `service.method`, in the contracts of the announced components.

    Returns:
        Stub interfaces of the service and of its component. The service has only this method.

    Raises:
        ConfigurationError: there is no such registry, service or method, or several components offer the service.
        CommunicationError: nothing is announced, or no server returned its contract.
    """
    title = f"cannot call {typed!r}"
    service_name, _, method_name = typed.rpartition(".")
    contracts = await _contracts(settings, title, service_name)
    pairs = [(component, service) for component in contracts for service in component.services]
    found = [(component, service) for component, service in pairs if service.name == service_name]
    if not found:
        names = {f"{service.name}.{method.name}" for _, service in pairs for method in service.methods}
        raise ConfigurationError(title, [f"no such service is announced{did_you_mean(typed, names)}"])
    if len({component.name for component, _ in found}) > 1:
        names = {component.name for component, _ in found}
        text = f"several components offer {service_name}: {', '.join(sorted(names))}; {_HINT.removeprefix('or ')}"
        raise ConfigurationError(title, [text])
    component, service = found[0]
    method = _method(title, service, method_name)
    try:
        return stub_of(component.name, service, method)
    except ValueError as error:
        raise ConfigurationError(title, [f"{error}; {_HINT.removeprefix('or ')}"]) from None


def _method(title: str, service: ServiceContract, name: str) -> MethodContract:
    for method in service.methods:
        if method.name == name:
            return method
    hint = did_you_mean(name, (method.name for method in service.methods))
    raise ConfigurationError(title, [f"{service.name} has no method {name!r}{hint}"])


async def _contracts(settings: Settings, title: str, service: str) -> list[ComponentContract]:
    """Fetch the contracts of the components that announce the service; if none does, of all components."""
    try:
        registry = make_registry(settings.registry)
    except ValueError as error:
        raise ConfigurationError("setting registry", [str(error)]) from None
    async with registry:
        announced = await registry.instances()
    if not announced:
        text = f"{title}: nothing is announced in {registry}; start a server, {_HINT}"
        raise CommunicationError(Code.UNAVAILABLE, text, processed=False)
    offering = {
        name: [instance for instance in instances if service in digests_of(instance.digest)]
        for name, instances in announced.items()
    }
    offering = {name: instances for name, instances in offering.items() if instances}
    problems: list[str] = []
    slots = asyncio.Semaphore(_CONCURRENCY)
    async with asking(settings, registry) as session:

        async def one(name: str, instances: Iterable[Instance]) -> ComponentContract | None:
            async with slots:
                return await _first(session, name, instances, settings.max_body, problems)

        found = await asyncio.gather(*(one(name, instances) for name, instances in (offering or announced).items()))
    contracts = [contract for contract in found if contract is not None]
    if not contracts:
        text = f"{title}: no server returned its contract ({problems[0]}); {_HINT.removeprefix('or ')}"
        raise CommunicationError(Code.UNAVAILABLE, text, processed=False)
    return contracts


async def _first(
    session: aiohttp.ClientSession, name: str, instances: Iterable[Instance], max_body: int, problems: list[str]
) -> ComponentContract | None:
    """Fetch a component's contract from the first of its instances that returns it. Else add to the problems."""
    reason = "it has no instance"
    for instance in instances:
        try:
            return await fetch_component(session, instance, max_body)
        except ValueError as error:
            reason = str(error)
    problems.append(f"{name}: {reason}")
    return None


async def client_of(settings: Settings, typed: str) -> tuple[type, ServiceDescription, Method]:
    """Find a method, typed as `service.method`, and make a module for a client that calls it.

    The method is looked up in the module of the settings, or without one in the contracts of the servers.
    """
    if settings.module:
        components = components_of(load_module(settings))
    else:
        _, component = await find_served(settings, typed)
        components = components_of(module(components=[component])(type("Served", (), {})))
    service, method = _find([service for component in components for service in component.services], typed)
    # The client needs the interfaces only: with the implementations, it would call them in this process.
    client = module(components=[component.interface for component in components])(type("Client", (), {}))
    return client, service, method


def components_of(module_class: type) -> tuple[ComponentDescription, ...]:
    """Return the components that a module implements or names."""
    catalog = Catalog(describe_modules(module_class))
    if catalog.problems:
        raise ConfigurationError(f"{module_class.__qualname__} cannot be used", catalog.problems)
    return catalog.named


def _find(services: list[ServiceDescription], typed: str) -> tuple[ServiceDescription, Method]:
    """Find a method by its name `service.method`."""
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


async def contract_of_module(settings: Settings) -> Contract:
    """Return the contract of the components that a module serves, or of those that it names if it serves none."""
    module = load_module(settings)
    blueprint = Blueprint(module, settings, {})
    problems = await blueprint.serving_problems()
    if problems:
        raise ConfigurationError(f"{module.__qualname__} cannot start", problems)
    catalog = blueprint.catalog
    components = [hosted.component for hosted in catalog.hosted] or catalog.named
    if not components:
        raise ConfigurationError(
            module.__qualname__, ["implements no component and names none, so there is no contract"]
        )
    return contract_of(map(component_contract, components))
