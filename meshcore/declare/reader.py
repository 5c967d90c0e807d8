"""Reads interfaces: signatures, types, HTTP mappings, declared exceptions and texts. Reports all mistakes at once."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from math import inf
from typing import Any, get_origin

from meshcore.codec.codec import MSGPACK
from meshcore.codec.constraints import is_foreign_constraint, why_no_constraint
from meshcore.codec.declared_exceptions import why_not_exception
from meshcore.codec.errors import DecodeError, EncodeError
from meshcore.codec.wire_types import why_not_type
from meshcore.core.description import REQUIRED, ComponentDescription, Method, Parameter, ServiceDescription, Source
from meshcore.core.errors import ConfigurationError
from meshcore.core.marks import find_mark, marks_of
from meshcore.core.policy import Policy
from meshcore.core.suggest import did_you_mean
from meshcore.declare.docstring import Docstring, read_docstring
from meshcore.declare.hints import buried_mark, resolve_hints, split_marks
from meshcore.declare.http import HttpMark, RestMark
from meshcore.declare.http_mapping import assign_sources, read_mapping, why_not_status
from meshcore.declare.interface_methods import interface_functions
from meshcore.declare.placement import class_problems
from meshcore.declare.security.authorization import AllowMark
from meshcore.declare.security.pass_token import PassTokenMark
from meshcore.declare.services import (
    AffinityMark,
    ComponentMark,
    IdempotencyKeyMark,
    IdempotentMark,
    InThreadMark,
    RaisesMark,
    ServiceMark,
    ShieldedMark,
)
from meshcore.declare.streaming.resumption import read_resumption
from meshcore.declare.streaming.streams import buried_stream, mark_problems, mixed_forms, stream_of, why_not_stream

_POSITIONAL = frozenset({inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY})
_MARKS = {Source.PATH: "PathParam", Source.QUERY: "QueryParam", Source.HEADER: "HeaderParam", Source.BODY: "Body"}
_IDEMPOTENT_VERBS = frozenset({"GET", "PUT", "DELETE"})


def describe(interface: type) -> ServiceDescription:
    """The description of a service interface.

    Raises:
        ConfigurationError: with every reason why the interface cannot be offered or called.
    """
    problems: list[str] = []
    description = describe_service(interface, problems)
    if problems:
        title = f"{getattr(interface, '__name__', interface)} cannot be used as a service"
        raise ConfigurationError(title, problems)
    return description


def describe_component(
    interface: type, problems: list[str], describe_one: Callable[[type], ServiceDescription] | None = None
) -> ComponentDescription:
    """The description of a component and its services. Problems are added to the list.

    Args:
        interface: the class that was decorated with `@component`.
        problems: the list of problems.
        describe_one: describes a service. By default this is `describe_service`. Another one reports the problems of
            services itself.
    """
    mark = find_mark(interface, ComponentMark)
    if mark is None:
        problems.append(f"{interface.__qualname__} is not decorated with @component")
        return ComponentDescription(interface, interface.__name__, "", ())
    problems += class_problems(interface)
    if not mark.services:
        problems.append(
            f"component {mark.name!r} ({interface.__qualname__}) names no services: @component(services=[...])"
        )
    services = tuple(
        describe_one(service) if describe_one else describe_service(service, problems) for service in mark.services
    )
    twice = _repeated(service.name for service in services)
    problems += [f"component {mark.name!r}: two of its services are called {name!r}" for name in twice]
    text = mark.description or read_docstring(interface).summary
    policy, allowed = find_mark(interface, Policy), _read_allowed(interface)
    return ComponentDescription(interface, mark.name, text, services, policy, allowed)


def _repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def describe_service(interface: type, problems: list[str]) -> ServiceDescription:
    """The description of a service. Problems are added to the list; methods that have one are left out."""
    mark = find_mark(interface, ServiceMark)
    if mark is None:
        name = getattr(interface, "__qualname__", repr(interface))
        problems.append(f"{name} is not decorated with @service")
        return ServiceDescription(object, name, "", ())
    problems += class_problems(interface)
    methods = [
        method
        for name, (owner, function) in interface_functions(interface, problems).items()
        if (method := _read_method(interface, mark.name, owner, name, function, problems)) is not None
    ]
    if not methods and not problems:
        text = "has no methods to call: none is abstract, decorated, or public with an empty body"
        problems.append(f"{interface.__qualname__} {text}")
    text = mark.description or read_docstring(interface).summary
    policy = _read_policy(interface, interface.__qualname__, problems)
    return ServiceDescription(interface, mark.name, text, tuple(methods), policy, _read_allowed(interface))


def _read_method(
    interface: type, service: str, owner: type, name: str, function: Any, problems: list[str]
) -> Method | None:
    place = f"{interface.__qualname__}.{name}"
    before = len(problems)
    hints = resolve_hints(interface, owner, function, place, problems)
    if hints is None:
        return None
    doc = read_docstring(function)
    parameters = _read_parameters(function, hints, doc, place, problems)
    returns = _read_returns(function, hints, place, problems)
    streamed = stream_of(hints.get("return"))
    problems += [f"{place}: {reason}" for reason in mixed_forms(function, hints)]
    yields = streamed is not None
    if yields or any(parameter.stream for parameter in parameters):
        problems += [f"{place}: {reason}" for reason in mark_problems(function, parameters, yields=yields)]
    raises = tuple(error for mark in marks_of(function) if isinstance(mark, RaisesMark) for error in mark.exceptions)
    problems += [f"{place}: @raises: {reason}" for error in raises if (reason := why_not_exception(error))]
    if not raises and find_mark(function, RaisesMark) is not None:
        problems.append(f"{place}: @raises names no exceptions: @raises(OutOfStock)")
    twice = _repeated(getattr(error, "__name__", "") for error in raises)
    problems += [f"{place}: @raises: two exceptions are called {name}" for name in twice if name]
    if find_mark(function, InThreadMark) is not None:
        problems.append(f"{place}: @in_thread belongs on the implementation; declare the method with async def")
    keyed = find_mark(function, IdempotencyKeyMark)
    if keyed is not None and not 0 < keyed.seconds < inf:
        problems.append(f"{place}: @idempotency_key(seconds={keyed.seconds!r}): must be a number of seconds above 0")
    mapping = find_mark(function, HttpMark)
    http = None
    if mapping is not None:
        rest = find_mark(interface, RestMark)
        http = read_mapping(mapping, rest.prefix if rest else "")
        parameters = assign_sources(parameters, http, place, problems)
        if reason := why_not_status(http, returns, yields=yields):
            problems.append(f"{place}: {reason}")
    affinity = _read_affinity(function, parameters, place, problems)
    resumed: list[str] = []
    resumption = read_resumption(function, parameters, returns, yields=yields, problems=resumed)
    problems += [f"{place}: {reason}" for reason in resumed]
    policy = _read_policy(function, place, problems)
    if len(problems) > before:
        return None
    return Method(
        service=service,
        name=name,
        parameters=parameters,
        returns=returns,
        # A decorator may hide that the method is async.
        is_async=any(map(inspect.iscoroutinefunction, (function, inspect.unwrap(function))))
        or (streamed is not None and streamed.is_async),
        idempotent=find_mark(function, IdempotentMark) is not None
        or resumption is not None
        or (mapping is not None and mapping.verb in _IDEMPOTENT_VERBS),
        # A call with a key runs on when its caller has left: a retry may ask for the outcome.
        shielded=find_mark(function, ShieldedMark) is not None or keyed is not None,
        passes_token=find_mark(function, PassTokenMark) is not None,
        idempotency_key=keyed.seconds if keyed else None,
        raises=raises,
        http=http,
        summary=(mapping.summary if mapping else "") or doc.summary,
        description=(mapping.description if mapping else "") or doc.description,
        affinity=affinity,
        policy=policy,
        yields=yields,
        resumption=resumption,
        allowed=_read_allowed(function),
    )


def _read_allowed(target: Any) -> tuple[str, ...] | None:
    mark = find_mark(target, AllowMark)
    return None if mark is None else mark.components


def _read_affinity(function: Any, parameters: tuple[Parameter, ...], place: str, problems: list[str]) -> int | None:
    mark = find_mark(function, AffinityMark)
    if mark is None:
        return None
    names = [parameter.name for parameter in parameters]
    if mark.parameter not in names:
        problems.append(f"{place}: @affinity: no parameter {mark.parameter!r}{did_you_mean(mark.parameter, names)}")
        return None
    return names.index(mark.parameter)


def _read_policy(target: Any, place: str, problems: list[str]) -> Policy | None:
    policy = find_mark(target, Policy)
    if policy is not None and policy.shared:
        text = f"{place}: policy: {', '.join(policy.shared)}: shared by all calls to a component, so set it there"
        problems.append(text)
    return policy


def _read_parameters(
    function: Any, hints: dict[str, Any], doc: Docstring, place: str, problems: list[str]
) -> tuple[Parameter, ...]:
    found: list[Parameter] = []
    signature = list(inspect.signature(function).parameters.values())
    if not signature or signature[0].kind not in _POSITIONAL:
        problems.append(f"{place}: has no self; an interface has instance methods only")
        return ()
    for parameter in signature[1:]:
        where = f"{place}({parameter.name})"
        if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            star = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            problems.append(f"{where}: {star}{parameter.name} cannot travel; take a list or a dict")
            continue
        if parameter.name not in hints:
            problems.append(f"{where}: has no type annotation")
            continue
        hint, mark = split_marks(hints[parameter.name])
        stream = stream_of(hint)
        if reason := (why_not_stream(stream) if stream else buried_stream(hint) or why_not_type(hint)):
            problems.append(f"{where}: {reason}")
            continue
        if stream:
            hint = stream.item
        if buried := buried_mark(hint):
            source = buried.source
            text = f"a {source.value} mark inside of its type has no effect; mark the whole type"
            problems.append(f"{where}: {text}: {_MARKS[source]}[...]")
            continue
        if parameter.default is not inspect.Parameter.empty:
            reason = "a stream has no default" if stream else _why_no_default(parameter.default, hint)
            problems += [f"{where}: {reason}"] if reason else []
        found.append(
            Parameter(
                name=parameter.name,
                type=hint,
                keyword_only=parameter.kind is inspect.Parameter.KEYWORD_ONLY,
                positional_only=parameter.kind is inspect.Parameter.POSITIONAL_ONLY,
                default=REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default,
                source=mark.source if mark else None,
                description=(mark.description if mark else "") or doc.parameters.get(parameter.name, ""),
                example=mark.example if mark else None,
                alias=mark.alias if mark else "",
                stream=stream is not None,
            )
        )
    return tuple(found)


def _why_no_default(default: Any, hint: Any) -> str | None:
    """Why a default is no value of its type, None if it is one. A default that cannot be encoded is accepted."""
    if is_foreign_constraint(default):  # `limit: int = pydantic.Field(gt=0)`
        return why_no_constraint(default)
    try:
        data = MSGPACK.encoder(hint)(default)
    except EncodeError:
        return None
    try:
        MSGPACK.decoder(hint)(data)
    except DecodeError as error:
        shown = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        advice = f"write {shown} | None = None" if default is None else f"{error.path}: {error.reason}"
        return f"the default {default!r} does not fit {shown}; {advice.removeprefix('$: ')}"
    return None


def _read_returns(function: Any, hints: dict[str, Any], place: str, problems: list[str]) -> Any:
    if "return" not in hints:
        problems.append(f"{place}: has no return annotation; write -> None if it returns nothing")
        return None
    returns = hints["return"]
    if get_origin(returns) in {Awaitable, Coroutine} and not inspect.iscoroutinefunction(function):
        problems.append(f"{place}: returns an awaitable; declare it with async def")
        return None
    if returns is None or returns is type(None):
        return None
    returns, _ = split_marks(returns)
    stream = stream_of(returns)
    if reason := (why_not_stream(stream) if stream else buried_stream(returns) or why_not_type(returns)):
        problems.append(f"{place}: its result: {reason}")
    return stream.item if stream else returns
