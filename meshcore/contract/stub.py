"""An interface made from a contract: whoever has not got the module that declares a service can call it all the same.

Only what is needed for a call: arguments have their types, so that they can be read and checked; the result is what
comes. Names in a contract are somebody else's text, so they are checked before anything is generated from them.
"""

from __future__ import annotations

import datetime as dt
import decimal
import inspect
import keyword
import uuid
from abc import abstractmethod
from collections.abc import Mapping
from types import new_class
from typing import Annotated, Any, ForwardRef, Literal, Union

import msgspec
from msgspec import UNSET, UnsetType

from meshcore.codec.wire_types import why_not_type
from meshcore.contract.contract import Field, MethodContract, ParameterContract, ServiceContract, Structure, Type
from meshcore.core.description import Source
from meshcore.declare import http
from meshcore.declare.components import Component
from meshcore.declare.http import ParameterMark
from meshcore.declare.services import Service, component, idempotency_key, idempotent, service

_SCALARS: Mapping[str, Any] = {
    "none": None,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
    "datetime": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "timedelta": dt.timedelta,
}
_KEPT = 600.0
"""Seconds for which an outcome is kept. It is the server that decides that; the client only sends the key."""


def replica_of(component_name: str, contract: ServiceContract, method: MethodContract) -> tuple[type, type]:
    """A service interface with this method, and a component that offers it.

    Raises:
        ValueError: a name in the contract is none in Python.
    """
    function = abstractmethod(_function(contract, method))
    if method.repeat == "freely":
        function = idempotent(function)
    elif method.repeat:
        function = idempotency_key(_KEPT)(function)
    verb, _, path = method.http.partition(" ")
    if verb in {"GET", "POST", "PUT", "PATCH", "DELETE"}:
        function = getattr(http, verb.lower())(path)(function)
    members = {method.name: function}
    interface = service(contract.name)(new_class("Replica", (Service,), exec_body=lambda body: body.update(members)))
    cls = new_class("ReplicaComponent", (Component,))
    return interface, component(component_name, services=[interface])(cls)


def _function(contract: ServiceContract, method: MethodContract) -> Any:
    async def function(self: Any, **arguments: Any) -> Any:
        """Never called: a proxy stands in its place."""

    _check_name(method.name)
    types = _Types(contract.types)
    by_name = inspect.Parameter.KEYWORD_ONLY  # the wire has their order, so callers may give them by name
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    hints: dict[str, Any] = {"return": Any}
    for parameter in method.parameters:
        _check_name(parameter.name)
        hint, default = _with_default(parameter, types.of(parameter))
        source, _, alias = parameter.source.partition(" as ")
        if method.http and source in {source.value for source in Source}:
            hint = Annotated[hint, ParameterMark(Source(source), alias=alias)]
        hints[parameter.name] = hint
        parameters.append(inspect.Parameter(parameter.name, by_name, default=default))
    function.__name__ = function.__qualname__ = method.name
    function.__annotations__ = hints
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


def _check_name(name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise ValueError(f"{name!r} is no name that Python could call")


def _with_default(parameter: ParameterContract, hint: Any) -> tuple[Any, Any]:
    """The type, and the default as a value of it. One that the contract cannot tell has to be given."""
    if parameter.required or isinstance(parameter.default, UnsetType):
        return hint, inspect.Parameter.empty
    try:
        return hint, msgspec.convert(parameter.default, hint, str_keys=True)
    except (msgspec.ValidationError, TypeError):
        return Any, parameter.default  # the server takes it, so it is its to judge


def _default_item(field: Field, hint: Any) -> Any:
    """What stands in an array where a caller gives nothing.

    Raises:
        ValueError: the contract does not tell.
    """
    if isinstance(field.default, UnsetType):
        raise ValueError(f"the default of {field.name} is another one each time")  # noqa: TRY004 - of the contract
    try:
        default = msgspec.convert(field.default, hint, str_keys=True)
    except (msgspec.ValidationError, TypeError, NameError):
        default = field.default  # as it is written: it may be of a type that is still being made
    return msgspec.field(default_factory=lambda: default)


class _Types:
    """Python types for those of a service's contract."""

    def __init__(self, structures: Mapping[str, Structure]) -> None:
        self._structures = structures
        self._names = {name: f"_Structure{number}" for number, name in enumerate(structures)}
        self._made: dict[str, type[msgspec.Struct] | None] = {}

    def of(self, parameter: ParameterContract) -> Any:
        """The type of a parameter; `Any` if it is one that cannot be had here, then the server judges alone."""
        before = dict(self._made)
        try:
            found = self._read(parameter.type)
            self._link()
            return Any if why_not_type(found) else found
        except (TypeError, ValueError):
            self._made = before  # those may contain what there is none of
            return Any

    def _read(self, type_: Type) -> Any:  # noqa: PLR0911 - one for each kind
        parts: Any = tuple(self._read(part) for part in type_.parts)
        match type_.kind:
            case "enum":
                return Literal[type_.values]
            case "list" | "set":
                return list[parts[0]]
            case "tuple":
                return tuple[parts]
            case "map":
                return dict[parts[0], parts[1]]
            case "union":
                return Union[parts]  # noqa: UP007 - parts are known only now
            case "ref":
                return self._structure(type_.name)
            case kind:
                return _SCALARS.get(kind, Any)

    def _structure(self, name: str) -> Any:
        if name in self._made:
            # One that is still being made contains itself.
            return self._made[name] or ForwardRef(self._names[name])
        self._made[name] = None
        structure = self._structures[name]
        fields: list[tuple[str, Any, Any]] = []
        wire: dict[str, str] = {}
        for number, field in enumerate(structure.fields):
            if structure.tag is not None and field.name == structure.tag[0]:
                continue
            hint = self._read(field.type)
            # Attributes have names of their own, the wire may use any.
            wire[f"f{number}"] = field.name
            if field.required:
                fields.append((f"f{number}", hint, msgspec.field()))
            elif structure.record:  # nothing can be left out of an array
                fields.append((f"f{number}", hint, _default_item(field, hint)))
            else:  # what is left out is left to the server
                fields.append((f"f{number}", Union[hint, UnsetType], msgspec.field(default=UNSET)))  # noqa: UP007
        options: dict[str, Any] = {"array_like": True} if structure.record else {}
        if structure.tag is not None:
            options |= {"tag_field": structure.tag[0], "tag": structure.tag[1]}
        made = msgspec.defstruct(
            self._names[name],
            fields,
            rename=wire,
            kw_only=True,
            forbid_unknown_fields=True,  # else a misspelt optional field would go unnoticed
            **options,
        )
        self._made[name] = made
        return made

    def _link(self) -> None:
        """Let structures find each other by name: msgspec looks there, at the first use."""
        for made in self._made.values():
            for name, other in self._made.items():
                if made is not None and other is not None:
                    setattr(made, self._names[name], other)
