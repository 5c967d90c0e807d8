"""Makes an interface from a contract, to call a service without the module that declares it.

It has only what a call needs: the types of the arguments, so that they can be parsed and checked. The result is of any
type. The names in a contract come from a server, so they are checked before anything is generated from them.
"""

from __future__ import annotations

import datetime as dt
import decimal
import inspect
import keyword
import uuid
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import new_class
from typing import Annotated, Any, ForwardRef, Literal, Union

import msgspec
from msgspec import UNSET, UnsetType

from meshcore.codec.wire_types import why_not_type
from meshcore.contract.compatible import members_of
from meshcore.contract.contract import Field, MethodContract, ParameterContract, ServiceContract, Structure, Type
from meshcore.core.description import Source
from meshcore.declare import http
from meshcore.declare.components import Component
from meshcore.declare.http import ParameterMark
from meshcore.declare.services import Service, component, idempotency_key, idempotent, service
from meshcore.declare.streaming.resumption import resumable

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
_stream: Any = AsyncIterator  # as `Any`: it is subscribed with types that are known only at run time
_KEPT = 600.0
"""The decorator needs the seconds for which an outcome is kept. They have no effect in a client: the server decides."""


class StubComponent(Component):
    """The component of a stub. It is no version of its own, so it is not compared with those that are served."""


def stub_of(component_name: str, contract: ServiceContract, method: MethodContract) -> tuple[type, type]:
    """Return a service interface with this method, and a component that offers it.

    Raises:
        ValueError: a name in the contract is not a Python identifier.
    """
    function = abstractmethod(_function(contract, method))
    if method.repeat == "freely":
        function = idempotent(function)
    elif method.repeat:
        function = idempotency_key(_KEPT)(function)
    parameter, _, key = method.resume.partition("=")
    if _can_resume(contract, method, parameter, key):
        function = resumable(parameter, key)(function)
    verb, _, path = method.http.partition(" ")
    if verb in {"GET", "POST", "PUT", "PATCH", "DELETE"}:
        function = getattr(http, verb.lower())(path)(function)
    members = {method.name: function}
    interface = service(contract.name)(new_class("Stub", (Service,), exec_body=lambda body: body.update(members)))
    cls = new_class("Stub", (StubComponent,))
    return interface, component(component_name, services=[interface])(cls)


def _function(contract: ServiceContract, method: MethodContract) -> Any:
    async def answering(self: Any, **arguments: Any) -> Any:
        """Never called: the proxy replaces it."""

    def streaming(self: Any, **arguments: Any) -> Any:
        """Never called, as above."""

    streams = method.returns.kind == "stream"
    function: Any = streaming if streams else answering
    _check_name(method.name)
    types = _Types(contract.types)
    by_name = inspect.Parameter.KEYWORD_ONLY  # whatever the server requires: the wire needs their order only
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    hints: dict[str, Any] = {"return": AsyncIterator[Any] if streams else Any}
    for parameter in method.parameters:
        _check_name(parameter.name)
        hint, default = _with_default(parameter, types.of(parameter.type))
        if parameter.type.kind == "stream":
            hint = _stream[types.of(parameter.type.parts[0])]
        source, _, alias = parameter.source.partition(" as ")
        if method.http and source in {source.value for source in Source}:
            hint = Annotated[hint, ParameterMark(Source(source), alias=alias)]
        hints[parameter.name] = hint
        parameters.append(inspect.Parameter(parameter.name, by_name, default=default))
    function.__name__ = function.__qualname__ = method.name
    function.__annotations__ = hints
    function.__signature__ = inspect.Signature(parameters)
    return function


def _can_resume(contract: ServiceContract, method: MethodContract, parameter: str, key: str) -> bool:
    """Whether the key of an item is found in it as it travels: in an object, by its name on the wire."""
    if parameter not in {each.name for each in method.parameters} or method.returns.kind != "stream":
        return False
    structures = (contract.types.get(item.name) for item in members_of(method.returns.parts[0]))
    return not key or all(
        structure is not None and not structure.record and key in {field.name for field in structure.fields}
        for structure in structures
    )


def _check_name(name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise ValueError(f"{name!r} is not a name that Python can call")


def _with_default(parameter: ParameterContract, hint: Any) -> tuple[Any, Any]:
    """Return the type and the default. A parameter whose default the contract does not have becomes required."""
    if parameter.required or isinstance(parameter.default, UnsetType):
        return hint, inspect.Parameter.empty
    with suppress(msgspec.ValidationError, TypeError):
        return hint, msgspec.convert(parameter.default, hint, str_keys=True)
    if parameter.source:  # a text of a URL or a header: its type has to be known
        return hint | None, None
    return Any, parameter.default  # without a check here: the server accepts its own default


def _default_item(field: Field, hint: Any) -> Any:
    """Return the default of a field of a record, which an array cannot leave out.

    Raises:
        ValueError: the contract does not have it.
    """
    if isinstance(field.default, UnsetType):
        raise ValueError(f"the default of {field.name} is a new value for each call")  # noqa: TRY004 - of the contract
    try:
        default = msgspec.convert(field.default, hint, str_keys=True)
    except (msgspec.ValidationError, TypeError, NameError):
        default = field.default  # as plain data: its type may not be complete yet
    return msgspec.field(default_factory=lambda: default)


class _Types:
    """Makes Python types from the types of a service's contract."""

    def __init__(self, structures: Mapping[str, Structure]) -> None:
        self._structures = structures
        self._names = {name: f"_Structure{number}" for number, name in enumerate(structures)}
        self._made: dict[str, type[msgspec.Struct] | None] = {}

    def of(self, type_: Type) -> Any:
        """Return the Python type. `Any` if it cannot be made: then only the server checks the argument."""
        before = dict(self._made)
        try:
            found = self._read(type_)
            self._link()
            return Any if why_not_type(found) else found
        except (TypeError, ValueError):
            self._made = before  # the types made since may be incomplete
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
            # A structure that is not complete yet contains itself.
            return self._made[name] or ForwardRef(self._names[name])
        self._made[name] = None
        structure = self._structures[name]
        fields: list[tuple[str, Any, Any]] = []
        wire: dict[str, str] = {}
        for number, field in enumerate(structure.fields):
            if structure.tag is not None and field.name == structure.tag[0]:
                continue
            hint = self._read(field.type)
            # Names on the wire may not be identifiers, so attributes get other names.
            wire[f"f{number}"] = field.name
            if field.required:
                fields.append((f"f{number}", hint, msgspec.field()))
            elif structure.record:  # an array cannot leave out an item
                fields.append((f"f{number}", hint, _default_item(field, hint)))
            else:  # the server fills in what is left out
                fields.append((f"f{number}", Union[hint, UnsetType], msgspec.field(default=UNSET)))  # noqa: UP007
        options: dict[str, Any] = {"array_like": True} if structure.record else {}
        if structure.tag is not None:
            options |= {"tag_field": structure.tag[0], "tag": structure.tag[1]}
        made = msgspec.defstruct(
            self._names[name],
            fields,
            rename=wire,
            kw_only=True,
            forbid_unknown_fields=True,  # so that a misspelt optional field is an error
            **options,
        )
        self._made[name] = made
        return made

    def _link(self) -> None:
        """Make forward references work: msgspec looks them up among the attributes of a class, at its first use."""
        for made in self._made.values():
            for name, other in self._made.items():
                if made is not None and other is not None:
                    setattr(made, self._names[name], other)
