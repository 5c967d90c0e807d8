"""What the commands do, once their words are read: look up, explain, call."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio.to_thread
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from meshcore.adapters import make_registry
from meshcore.app import load_module
from meshcore.catalog import Catalog
from meshcore.codec import JSON, DecodeError
from meshcore.errors import Code, CommunicationError, ConfigurationError, RemoteError
from meshcore.injection import ModuleMark, module
from meshcore.interface import ComponentDescription, Method, Parameter, ServiceDescription
from meshcore.marks import find_mark
from meshcore.mesh import Mesh
from meshcore.modules import modules_of
from meshcore.settings import Settings
from meshcore.suggest import did_you_mean
from meshcore.text import from_text
from meshcore.wording import TravelError

_LOOK = 2.0
"""Seconds in which a registry that knows an instance has told it."""


async def explain(settings: Settings, typed: str, channel: str) -> None:
    """Print why a call of what was typed goes where it goes."""
    client, service, method = _client_of(settings, typed)
    async with Mesh(client, settings=settings) as mesh:
        with suppress(CommunicationError):  # the explanation says so
            await mesh.wait_for(service.interface, timeout=_LOOK)
            await mesh.runtime.compare_contracts(service.interface)
        found = mesh.why(service.interface, method.name, channel)
    console = make_console()
    console.print(f"{found.method} of {found.component}, over {found.channel or 'no channel'}: {found.choice}")
    rules = _table("rule", "value", "from")
    for name, (value, source) in found.rules.items():
        rules.add_row(name, str(value), source)
    console.print(rules)
    if found.problem:
        console.print(found.problem)
        return
    instances = _table("instance", "url", "zone", "weight", "state")
    for each in found.instances:
        instances.add_row(each.instance, each.url, each.zone, str(each.weight), each.state)
    console.print(instances)
    for remark in found.contract:
        console.print(remark)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def make_console() -> Console:
    """What is piped into another program must not be cut at the width of a terminal that is not there."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    return Console(width=width, soft_wrap=True, highlight=False)


async def list_instances(settings: Settings) -> None:
    """Print what is announced."""
    try:
        registry = make_registry(settings.registry)
    except ValueError as error:
        raise ConfigurationError("setting registry", [str(error)]) from None
    async with registry:
        found = await registry.instances()
    table = _table("component", "instance", "channel", "url")
    for component, instances in sorted(found.items()):
        for instance in instances:
            for address in instance.addresses:
                table.add_row(component, instance.id, address.channel, address.url)
    if not table.row_count:
        print(f"nothing is announced in {settings.registry}", file=sys.stderr)
        return
    make_console().print(table)


async def call(settings: Settings, typed: str, texts: Sequence[str], channel: str) -> str:
    """Call what was typed; the result as JSON."""
    client, service, method = _client_of(settings, typed)
    positional, named = _read_arguments(method, texts)
    async with Mesh(client, settings=settings) as mesh:
        function = getattr(await mesh.get_service(service.interface, channel), method.name)
        try:
            if method.is_async:
                result = await function(*positional, **named)
            else:
                result = await anyio.to_thread.run_sync(functools.partial(function, *positional, **named))
        except method.raises as error:  # what is declared is an answer, too
            code = getattr(error, "code", Code.FAILED_PRECONDITION)
            raise RemoteError(code, f"{type(error).__name__}: {error}") from error
    return msgspec.json.format(JSON.encoder(method.returns)(result), indent=2).decode()


def _client_of(settings: Settings, typed: str) -> tuple[type, ServiceDescription, Method]:
    """A module for a client, and the method that it is to call."""
    if not settings.module:
        text = "say which module declares the service: --module package.module:Class, or MESHCORE_MODULE"
        raise ConfigurationError(f"cannot call {typed!r}", [text])
    components = _components(load_module(settings))
    service, method = _find([service for component in components for service in component.services], typed)
    # Only what is declared, without the implementations: those run elsewhere.
    client = module(components=[component.interface for component in components])(type("Client", (), {}))
    return client, service, method


def _components(module_class: type) -> list[ComponentDescription]:
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


def _read_arguments(method: Method, texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a method from `name=value` each."""
    problems: list[str] = []
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            problems.append(f"{text!r} is not of the form name=value")
            continue
        if name in given:
            problems.append(f"{name} is given twice")
        given[name] = value
    known = {parameter.name: parameter for parameter in method.parameters}
    problems += [f"no parameter {name!r}{did_you_mean(name, known)}" for name in given if name not in known]
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in known.items():
        if name not in given:
            if parameter.required:
                problems.append(f"{name} is missing")
            continue
        try:
            value = _read_value(parameter, given[name])
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if parameter.positional_only:
            positional.append(value)
        else:
            named[name] = value
    if problems:
        signature = " ".join(f"{name}=..." for name in known)
        raise ConfigurationError(f"cannot call {method} ({signature or 'takes nothing'})", problems)
    return positional, named


def _read_value(parameter: Parameter, typed: str) -> Any:
    """A value of the parameter's type from JSON, else from text.

    Raises:
        ValueError: it is neither.
    """
    try:
        return JSON.decoder(parameter.type)(typed.encode())
    except DecodeError as error:
        try:
            return from_text(parameter.type)(typed)
        except TravelError:
            raise error from None  # a type that has no form as text: what is wrong is wrong with the JSON
