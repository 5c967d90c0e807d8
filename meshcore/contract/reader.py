"""Makes the contract of a component from its description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET

from meshcore.codec.declared_exceptions import declared_exception
from meshcore.contract.contract import (
    DEFAULT_STATUS,
    ComponentContract,
    ExceptionContract,
    MethodContract,
    ParameterContract,
    ServiceContract,
    Type,
)
from meshcore.contract.digest import digest_of
from meshcore.contract.equal_structures import merge_equal
from meshcore.contract.types import TypeReader, plain_default
from meshcore.core.description import ComponentDescription, Method, Parameter, ServiceDescription


def component_contract(component: ComponentDescription) -> ComponentContract:
    """Return the contract of a component."""
    services = tuple(map(service_contract, component.services))
    return ComponentContract(component.name, services, description=component.description)


def service_contract(service: ServiceDescription) -> ServiceContract:
    """Return the contract of a service, with its digest."""
    types = TypeReader(_types(service))
    methods, structures = merge_equal(tuple(_method(method, types) for method in service.methods), types.types)
    found = ServiceContract(service.name, methods, structures, service.description)
    return msgspec.structs.replace(found, digest=digest_of(found))


def _types(service: ServiceDescription) -> Iterator[Any]:
    """Yield all types, in the order in which `_method` reads them."""
    for method in service.methods:
        yield from (parameter.type for parameter in method.parameters)
        yield method.returns
        yield from (declared_exception(cls).carrier for cls in method.raises)


def _method(method: Method, types: TypeReader) -> MethodContract:
    parameters = tuple(_parameter(parameter, types) for parameter in method.parameters)
    returns = _stream_of(types.next()) if method.yields else types.next()
    declared = [declared_exception(cls) for cls in method.raises]
    return MethodContract(
        method.name,
        parameters,
        returns,
        tuple(ExceptionContract(each.name, each.code.value, types.next_fields()) for each in declared),
        repeat="freely" if method.idempotent else "with a key" if method.idempotency_key is not None else "",
        http=f"{method.http.verb} {method.http.path}" if method.http else "",
        status=method.http.status if method.http else DEFAULT_STATUS,
        summary=method.summary,
        description=method.description,
        resume=_resume(method),
    )


def _resume(method: Method) -> str:
    resumption = method.resumption
    if resumption is None:
        return ""
    name = method.parameters[resumption.at].name
    return f"{name}={resumption.key}" if resumption.key else name


def _parameter(parameter: Parameter, types: TypeReader) -> ParameterContract:
    given = "name" if parameter.keyword_only else "position" if parameter.positional_only else "either"
    return ParameterContract(
        parameter.name,
        _stream_of(types.next()) if parameter.stream else types.next(),
        parameter.required,
        UNSET if parameter.required else plain_default(parameter.default),
        given,
        _source(parameter),
        parameter.description,
    )


def _stream_of(item: Type) -> Type:
    return Type("stream", parts=(item,))


def _source(parameter: Parameter) -> str:
    if parameter.source is None:
        return ""
    return f"{parameter.source.value} as {parameter.wire_name}" if parameter.alias else parameter.source.value
