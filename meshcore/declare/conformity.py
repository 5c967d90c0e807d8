"""Checks that an implementation fits its interface."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from meshcore.codec.constraints import why_not_enforced
from meshcore.core.description import Method, Parameter, ServiceDescription
from meshcore.declare.hints import split_marks
from meshcore.declare.interface_methods import interface_functions
from meshcore.declare.streaming.streams import form_problem, stream_of

_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_VARIABLE = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def is_mock(value: object) -> bool:
    """Whether this is a mock, of `unittest.mock` or the package `mock`: it makes methods when they are asked for."""
    return any(cls.__name__ == "NonCallableMock" for cls in type(value).__mro__)


def mock_problems(service: ServiceDescription, mock: object) -> list[str]:
    """What a mock lacks of an interface; nothing if it has the interface as its `spec`."""
    names = interface_functions(service.interface, [])
    name, interface = type(mock).__name__, service.interface.__qualname__
    return [
        f"{name}.{each} is missing: {interface} declares it; write {name}(spec={interface})"
        for each in names
        if not hasattr(mock, each)
    ]


def conformity_problems(service: ServiceDescription, implementation: type) -> list[str]:
    """All contradictions between an implementation and its interface."""
    problems: list[str] = []
    methods = {method.name: method for method in service.methods}
    # Mistakes in the methods themselves are reported by the description of the service.
    for name, (_, declared) in interface_functions(service.interface, []).items():
        place = f"{implementation.__qualname__}.{name}"
        function = inspect.getattr_static(implementation, name, None)
        # The inherited method of the interface need not be abstract at run time.
        if function is None or function is declared or getattr(function, "__isabstractmethod__", False):
            problems.append(f"{place} is missing: {service.interface.__qualname__} declares it")
        elif not inspect.isfunction(function):
            problems.append(f"{place} must be a plain method, it is a {type(function).__name__}")
        elif name in methods:
            problems += [f"{place}: {reason}" for reason in _contradictions(methods[name], function)]
    return problems


def _contradictions(method: Method, function: Any) -> list[str]:
    given = list(inspect.signature(function).parameters.values())[1:]
    if any(parameter.kind in _VARIABLE for parameter in given):
        return []  # it accepts any arguments
    expected = [parameter.name for parameter in method.parameters]
    extra = [parameter for parameter in given if parameter.name not in expected]
    problems = [
        f"has a parameter {parameter.name!r} that the interface does not declare; give it a default"
        for parameter in extra
        if parameter.default is inspect.Parameter.empty
    ]
    missing = [name for name in expected if name not in [parameter.name for parameter in given]]
    by_position = [parameter.name for parameter in method.parameters if not parameter.keyword_only]
    taken = [parameter.name for parameter in given if parameter.kind in _POSITIONAL]
    if missing:
        problems.append(f"lacks the parameter {', '.join(map(repr, missing))} of the interface")
    elif [name for name in taken if name in by_position] == by_position != taken[: len(by_position)]:
        problems.append(f"has its own parameters before those of the interface: {', '.join(expected)}")
    elif set(by_position) <= set(taken) and by_position != taken[: len(by_position)]:
        problems.append(f"has its parameters in another order than the interface: {', '.join(expected)}")
    by_name = {parameter.name: parameter for parameter in given}
    hints = _hints(function)
    for parameter in method.parameters:
        if parameter.name in by_name:
            problems += _parameter_contradictions(parameter, by_name[parameter.name], hints.get(parameter.name, Any))
    returned = hints.get("return", Any)
    if reason := form_problem(method, function, returned):
        return [*problems, reason]
    if method.yields and (stream := stream_of(returned)) is not None:
        returned = stream.item
    what = "yields" if method.yields else "returns"
    if not _compatible(returned, method.returns):
        problems.append(f"{what} {_show(returned)}, but the interface promises {_show(method.returns)}")
    return problems


def _parameter_contradictions(expected: Parameter, given: inspect.Parameter, hint: Any) -> list[str]:
    problems: list[str] = []
    if not expected.keyword_only and given.kind not in _POSITIONAL:
        problems.append(f"takes {expected.name!r} by name only, the interface by position too")
    if expected.keyword_only and given.kind is inspect.Parameter.POSITIONAL_ONLY:
        problems.append(f"takes {expected.name!r} by position only, the interface by name")
    stream = stream_of(hint)
    if expected.stream and stream is not None:
        hint = stream.item
    elif (expected.stream or stream is not None) and hint is not Any:
        wanted = "a stream" if expected.stream else "one value"
        return [*problems, f"takes {expected.name!r} as {_show(hint)}, but the interface declares {wanted}"]
    if not _compatible(expected.type, hint):
        problems.append(f"takes {expected.name!r} as {_show(hint)}, but the interface declares {_show(expected.type)}")
    if _has_own_constraint(hint, expected.type):
        problems.append(f"takes {expected.name!r} with a constraint, which is not enforced: write it in the interface")
    return problems


def _has_own_constraint(given: Any, wanted: Any) -> bool:
    """Whether the annotation of an implementation has a constraint that the interface does not have."""
    metadata = get_args(wanted)[1:] if get_origin(wanted) is Annotated else ()
    own = get_args(given)[1:] if get_origin(given) is Annotated else ()
    return why_not_enforced(given) is not None or any(
        isinstance(each, msgspec.Meta) and each not in metadata for each in own
    )


def _compatible(given: Any, wanted: Any) -> bool:
    """Whether the given type may be a subtype of the wanted one. Only plain classes are compared."""
    given, wanted = split_marks(given)[0], split_marks(wanted)[0]
    given, wanted = (type(None) if each is None else each for each in (given, wanted))
    # `Any` is a class at run time.
    if given == wanted or Any in (given, wanted) or not isinstance(given, type) or not isinstance(wanted, type):
        return True
    numbers = (int, float, complex)
    if given in numbers and wanted in numbers:
        return numbers.index(given) <= numbers.index(wanted)
    return issubclass(given, wanted)


def _hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - only the interface's annotations must be readable
        return {}


def _show(hint: Any) -> str:
    if hint is None or hint is type(None):
        return "None"
    return hint.__name__ if isinstance(hint, type) else str(hint)
