"""Contracts: what a component promises its callers, as plain data. They can be saved, served, compared and hashed.

A contract contains what travels and what callers write: names, order and types of parameters, results, declared
exceptions, HTTP mappings, and the structure of the data. It does not depend on the Python version or on the order of
sets, so the same interface gives the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from msgspec import UNSET, UnsetType

VERSION = 1
"""The version of the format. Contracts of another version are refused."""

DEFAULT_STATUS = 200
"""The status of a successful REST response, unless the mapping names another one."""


class Type(msgspec.Struct, frozen=True, omit_defaults=True):
    """A type, independent of Python.

    Attributes:
        kind: `any`, `none`, `bool`, `int`, `float`, `str`, `bytes`, `decimal`, `uuid`, `datetime`, `date`, `time`,
            `timedelta`; `enum` with its values; `list`, `set`, `tuple`, `map` and `union` with their parts; `ref` with
            the name of a structure of the service; `stream` of a whole parameter or result, with the type of its items.
        name: of the structure or the enum. That of an enum is for people only.
        parts: the types in it; of a map, those of key and value.
        values: of an enum.
        limits: such as `ge` and `max_length`, with msgspec's names.
    """

    kind: str
    name: str = ""
    parts: tuple[Type, ...] = ()
    values: tuple[int | str, ...] = ()
    limits: dict[str, Any] = {}

    def __str__(self) -> str:
        match self.kind:
            case "union":
                return " | ".join(map(str, self.parts))
            case "ref":
                return self.name
            case "none":
                return "None"
            case "enum":
                return self.name or f"Literal[{', '.join(map(repr, self.values))}]"
            case _:
                parts = ", ".join(map(str, self.parts))
                limits = ", ".join(f"{name}={value!r}" for name, value in self.limits.items())
                return self.kind + (f"[{parts}]" if self.parts else "") + (f" ({limits})" if limits else "")


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of a structure.

    Attributes:
        required: whether a reader needs it.
        omitted: whether a writer may leave it out.
        default: as plain data; unset if it differs for each object.
    """

    name: str
    type: Type
    required: bool = True
    omitted: bool = False
    default: Any | UnsetType = UNSET


class Structure(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dataclass, a struct, a pydantic model, a typed dict or a named tuple. They travel in the same way.

    Attributes:
        record: it is written as an array, so the order of its fields counts.
        closed: unknown fields are an error. Otherwise they are ignored.
        tag: the field and the value that mark it in a union.
    """

    fields: tuple[Field, ...]
    record: bool = False
    closed: bool = False
    tag: tuple[str, int | str] | None = None


class ParameterContract(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parameter.

    Attributes:
        given: how callers pass it: by `position`, by `name`, or by `either`.
        source: `path`, `query`, `header` or `body` of a REST request, with its name there if that differs; empty
            without an HTTP mapping.
    """

    name: str
    type: Type
    required: bool = True
    default: Any | UnsetType = UNSET
    given: str = "either"
    source: str = ""
    description: str = ""


class ExceptionContract(msgspec.Struct, frozen=True, omit_defaults=True):
    """A declared exception: its wire name, its code, and its fields."""

    name: str
    code: str
    fields: tuple[Field, ...] = ()


class MethodContract(msgspec.Struct, frozen=True, omit_defaults=True):
    """One method.

    Attributes:
        repeat: how a call may be repeated: `freely`, `with a key`, or not at all (empty).
        http: verb and path; empty without an HTTP mapping.
        status: of a successful REST response.
        resume: how a stream goes on that broke: the parameter that gets the last item, or `parameter=field` for one
            field of it; empty if callers do not resume it.
    """

    name: str
    parameters: tuple[ParameterContract, ...]
    returns: Type
    raises: tuple[ExceptionContract, ...] = ()
    repeat: str = ""
    http: str = ""
    status: int = DEFAULT_STATUS
    summary: str = ""
    description: str = ""
    resume: str = ""


class ServiceContract(msgspec.Struct, frozen=True, omit_defaults=True):
    """One service. `types` are the structures that its methods refer to, by name."""

    name: str
    methods: tuple[MethodContract, ...]
    types: dict[str, Structure] = {}
    description: str = ""
    digest: str = ""


class ComponentContract(msgspec.Struct, frozen=True, omit_defaults=True):
    """One component."""

    name: str
    services: tuple[ServiceContract, ...]
    description: str = ""

    @property
    def digest(self) -> str:
        """Its digests by service in one line, as instances announce them."""
        return ",".join(f"{quote(service.name, safe='')}={service.digest}" for service in self.services)


class Contract(msgspec.Struct, frozen=True):
    """The components that a process serves or a module declares."""

    meshcore_contract: int
    components: tuple[ComponentContract, ...]


def contract_of(components: Iterable[ComponentContract]) -> Contract:
    """Make the contract of several components."""
    return Contract(VERSION, tuple(components))


def encode_contract(contract: Contract) -> bytes:
    """Write a contract, for files and for the server."""
    return msgspec.json.format(msgspec.json.encode(contract), indent=2) + b"\n"


def decode_contract(data: bytes) -> Contract:
    """Read what `encode_contract` wrote.

    Raises:
        ValueError: it is not a contract, or one of another version.
    """
    try:
        version = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("meshcore_contract")
        if version is None:
            raise ValueError("it is JSON, but not a contract: it has no meshcore_contract")
        if bytes(version) != str(VERSION).encode():
            raise ValueError(
                f"it has version {bytes(version).decode(errors='replace')[:20]}, only version {VERSION} is supported"
            )
        contract = msgspec.json.decode(data, type=Contract)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is not a contract: {error}") from error
    for component in contract.components:
        for service in component.services:
            _check_references(service)
    return contract


def digests_of(text: str) -> dict[str, str]:
    """Return the digests that an instance announces, by service. Malformed parts are ignored."""
    pairs = (each.partition("=") for each in text.split(","))
    return {unquote(name): digest for name, equals, digest in pairs if equals}


def union_key(type_: Type, types: Mapping[str, Structure]) -> tuple[str, str]:
    """Return what identifies a member of a union."""
    if type_.kind != "ref":
        return type_.kind, ""
    structure = types[type_.name]
    return "record" if structure.record else "object", repr(structure.tag) if structure.tag else ""


def constants(type_: Type, types: Mapping[str, Structure]) -> dict[str, frozenset[int | str]]:
    """Return the values of the enum fields of a structure. They identify a member of a union that has no tag."""
    fields = types[type_.name].fields if type_.kind == "ref" else ()
    return {field.name: frozenset(field.type.values) for field in fields if field.type.kind == "enum"}


def _check_references(service: ServiceContract) -> None:
    slots = [slot for structure in service.types.values() for slot in structure.fields]
    slots += [slot for method in service.methods for fault in method.raises for slot in fault.fields]
    pending = [slot.type for slot in slots]
    for method in service.methods:
        pending += [method.returns, *(parameter.type for parameter in method.parameters)]
    while pending:
        type_ = pending.pop()
        pending += type_.parts
        if type_.kind == "ref" and type_.name not in service.types:
            raise ValueError(f"it is not a contract: service {service.name!r} has no type {type_.name!r}")
        if type_.kind == "map" and len(type_.parts) != 2:  # noqa: PLR2004 - key and value
            raise ValueError(f"it is not a contract: service {service.name!r} has a map without key and value")
        if type_.kind in {"list", "set", "stream"} and len(type_.parts) != 1:
            raise ValueError(f"it is not a contract: service {service.name!r} has a {type_.kind} without item")
