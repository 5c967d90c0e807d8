"""What `meshcore describe` and `meshcore diff` do: show a contract, and compare two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
import msgspec
from rich.text import Text
from rich.tree import Tree

from meshcore.app import load_module
from meshcore.catalog import Catalog
from meshcore.changes import Change, compare
from meshcore.contract import (
    USUAL_STATUS,
    Contract,
    Field,
    MethodContract,
    ParameterContract,
    ServiceContract,
    Structure,
    Type,
    contract_of,
    decode_contract,
    encode_contract,
)
from meshcore.contract_fetch import contract_url, fetch_contract, reason_of
from meshcore.contract_reader import component_contract
from meshcore.errors import Code, CommunicationError, ConfigurationError
from meshcore.injection import ModuleMark
from meshcore.marks import find_mark
from meshcore.modules import modules_of
from meshcore.printing import make_console
from meshcore.runtime import Runtime
from meshcore.settings import Settings

SettingsFor = Callable[[str], Settings]
"""The settings with which a module is loaded."""


async def describe(settings: Settings, *, as_json: bool) -> None:
    """Print the contract of a module.

    Raises:
        ConfigurationError: the module could not start; with every reason.
    """
    contract = await _of_module(settings)
    if as_json:
        print(encode_contract(contract).decode(), end="")
        return
    console = make_console()
    for component in contract.components:
        tree = Tree(_title(component.name, component.description))
        for service in component.services:
            _show(service, tree)
        console.print(tree)


async def diff(settings_for: SettingsFor, old: str, new: str, *, as_json: bool) -> bool:
    """Print what differs between two contracts.

    Returns:
        Whether callers of the old one can live with the new one.

    Raises:
        ConfigurationError: one of them cannot be read.
        CommunicationError: one of them cannot be fetched.
    """
    changes = compare(await _read(settings_for, old), await _read(settings_for, new))
    compatible = not any(change.breaking for change in changes)
    if as_json:
        plain = msgspec.json.encode({"compatible": compatible, "changes": changes})
        print(msgspec.json.format(plain, indent=2).decode())
    else:
        _print_changes(changes)
    return compatible


def _print_changes(changes: Sequence[Change]) -> None:
    console = make_console()
    if not changes:
        console.print("no changes")
    for change in sorted(changes, key=lambda change: not change.breaking):
        word, style = ("breaking", "bold red") if change.breaking else ("compatible", "green")
        console.print(Text.assemble((f"{word:<10}", style), f"  {change}"))


async def _read(settings_for: SettingsFor, source: str) -> Contract:
    """A contract from a URL, a file, or a module."""
    if source.startswith(("http://", "https://")):
        return await _fetch(source, settings_for("").max_body)
    if ":" in source and not _is_file(source):
        return await _of_module(settings_for(source))
    return _read_file(source)


def _is_file(source: str) -> bool:
    return Path(source).is_file()


def _read_file(source: str) -> Contract:
    try:
        return decode_contract(Path(source).read_bytes())
    except OSError as error:
        text = f"{error.strerror or error}; give a file, http://host:port, or package.module:Class"
        raise ConfigurationError(source, [text]) from None
    except ValueError as error:
        raise ConfigurationError(source, [str(error)]) from None


async def _fetch(source: str, max_body: int) -> Contract:
    url = contract_url(source)
    try:
        async with aiohttp.ClientSession() as session:
            return await fetch_contract(session, url, max_body)
    except aiohttp.InvalidURL as error:
        raise ConfigurationError(url, [f"no URL: {error}"]) from None
    except aiohttp.ClientResponseError as error:
        text = f"{url} answers {error.status}: is a mesh served there?"
        raise CommunicationError(Code.UNIMPLEMENTED, text) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommunicationError(Code.UNAVAILABLE, f"{url}: {reason_of(error)}") from error
    except ValueError as error:
        raise ConfigurationError(url, [str(error)]) from None


async def _of_module(settings: Settings) -> Contract:
    """What a module serves; of one that serves nothing, what it names."""
    module = load_module(settings)
    problems = await Runtime(module, settings, {}).problems()
    if problems:
        raise ConfigurationError(f"{module.__qualname__} cannot start", problems)
    catalog = Catalog(module)
    components = [hosted.component for hosted in catalog.hosted]
    if not components:
        marks = [mark for each in modules_of(module) if (mark := find_mark(each, ModuleMark)) is not None]
        components = [
            catalog.component(each) for each in dict.fromkeys(each for mark in marks for each in mark.components)
        ]
    if not components:
        raise ConfigurationError(
            module.__qualname__, ["implements no component and names none, so there is no contract"]
        )
    return contract_of(map(component_contract, components))


# --- the interface tree -----------------------------------------------------------------------------------------------


def _title(name: str, text: str, more: str = "") -> Text:
    return Text.assemble((name, "bold"), f"  {more}" if more else "", (f"  {text}", "dim") if text else "")


def _show(service: ServiceContract, tree: Tree) -> None:
    branch = tree.add(_title(service.name, service.description, service.digest))
    for method in service.methods:
        _show_method(method, branch)
    if service.types:
        types = branch.add(Text("types", "bold"))
        for name, structure in service.types.items():
            leaf = types.add(_title(name, _form(structure)))
            for field in structure.fields:
                leaf.add(Text(_slot(field)))


def _show_method(method: MethodContract, branch: Tree) -> None:
    facts = [
        method.http,
        f"answers with {method.status}" if method.status != USUAL_STATUS else "",
        f"may be repeated {method.repeat}" if method.repeat else "",
    ]
    head = f"({', '.join(parameter.name for parameter in method.parameters)}) -> {method.returns}"
    more = "; ".join(filter(None, facts))
    leaf = branch.add(Text.assemble((method.name, "bold"), head, (f"  {more}", "cyan") if more else ""))
    if method.summary:
        leaf.add(Text(method.summary, "dim"))
    for parameter in method.parameters:
        text = f"  {parameter.description}" if parameter.description else ""
        leaf.add(Text.assemble(_slot(parameter), (text, "dim")))
    for fault in method.raises:
        fields = ", ".join(f"{field.name}: {field.type}" for field in fault.fields)
        leaf.add(Text.assemble("raises ", f"{fault.name}({fields})", (f"  {fault.code}", "dim")))


def _slot(slot: ParameterContract | Field) -> str:
    text = f"{slot.name}: {slot.type}"
    for name, values in _enums(slot.type).items():
        text += f" ({name}: {', '.join(map(repr, values))})"
    if not slot.required:
        text += " = ..." if slot.default is msgspec.UNSET else f" = {slot.default!r}"
    if isinstance(slot, ParameterContract):
        given = f"by {slot.given} only" if slot.given != "either" else ""
        source = f"in the {slot.source}" if slot.source else ""
        if notes := ", ".join(filter(None, (given, source))):
            text += f"  [{notes}]"
    return text


def _enums(type_: Type) -> dict[str, tuple[int | str, ...]]:
    """The enums in a type that have a name."""
    if type_.kind == "enum":
        return {type_.name: type_.values} if type_.name else {}
    return {name: values for part in type_.parts for name, values in _enums(part).items()}


def _form(structure: Structure) -> str:
    notes = ["an array"] if structure.record else []
    notes += ["refuses other fields"] if structure.closed and not structure.record else []
    notes += [f"{structure.tag[0]}={structure.tag[1]!r}"] if structure.tag else []
    return ", ".join(notes)
