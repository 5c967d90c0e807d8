"""`meshcore describe`: prints the contract of a module, as a tree or as JSON."""

from __future__ import annotations

import msgspec
from rich.text import Text
from rich.tree import Tree

from meshcore.cli.printing import make_console
from meshcore.cli.targets import contract_of_module

# Nearly the imports of contract/digest.py: both walk through a whole contract, for different ends.
from meshcore.contract.contract import (
    DEFAULT_STATUS,
    Field,
    MethodContract,
    ParameterContract,
    ServiceContract,
    Structure,
    Type,
    encode_contract,
)
from meshcore.core.errors import Code
from meshcore.core.settings import Settings


async def print_contract(settings: Settings, *, as_json: bool) -> None:
    """Print the contract of a module.

    Raises:
        ConfigurationError: the module cannot start; with every problem.
    """
    contract = await contract_of_module(settings)
    if as_json:
        print(encode_contract(contract).decode(), end="")
        return
    console = make_console()
    for component in contract.components:
        tree = Tree(_title(component.name, component.description))
        for service in component.services:
            _show(service, tree)
        console.print(tree)


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
        f"answers with {method.status}" if method.status != DEFAULT_STATUS else "",
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
        code = f"{fault.code}, HTTP status {_status(fault.code)}" if method.http else fault.code
        leaf.add(Text.assemble("raises ", f"{fault.name}({fields})", (f"  {code}", "dim")))


def _status(code: str) -> int:
    """The HTTP status of a code that a contract names; a newer server may have codes that are not known here."""
    try:
        return Code(code).http_status
    except ValueError:
        return Code.UNKNOWN.http_status


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
    """The named enums in a type, with their values."""
    if type_.kind == "enum":
        return {type_.name: type_.values} if type_.name else {}
    return {name: values for part in type_.parts for name, values in _enums(part).items()}


def _form(structure: Structure) -> str:
    notes = ["an array"] if structure.record else []
    notes += ["refuses other fields"] if structure.closed and not structure.record else []
    notes += [f"{structure.tag[0]}={structure.tag[1]!r}"] if structure.tag else []
    return ", ".join(notes)
