"""Finds decorators that do nothing where they stand."""

from __future__ import annotations

from collections.abc import Iterator

from meshcore.core.marks import find_mark, marked_methods, marks_of
from meshcore.core.policy import Policy
from meshcore.declare.advice import AdviceMark, AroundMark
from meshcore.declare.health import HealthCheckMark, HealthChecksMark
from meshcore.declare.http import HttpMark, RestMark
from meshcore.declare.injection import (
    CreateMark,
    InjectableMark,
    InjectService,
    InjectValue,
    ModuleMark,
    OnDestroyMark,
    OnInitMark,
)
from meshcore.declare.interface_methods import METHOD_MARKS
from meshcore.declare.security.authorization import AllowMark
from meshcore.declare.security.pass_token import PassTokenMark
from meshcore.declare.services import (
    AffinityMark,
    ComponentMark,
    HealthMark,
    IdempotencyKeyMark,
    IdempotentMark,
    ImplementationMark,
    RaisesMark,
    ServiceMark,
    ShieldedMark,
)
from meshcore.declare.streaming.resumption import ResumableMark

_NAMES: dict[type, str] = {
    RaisesMark: "raises",
    IdempotentMark: "idempotent",
    AffinityMark: "affinity",
    ShieldedMark: "shielded",
    PassTokenMark: "pass_token",
    IdempotencyKeyMark: "idempotency_key",
    ResumableMark: "resumable",
    CreateMark: "create",
    OnInitMark: "on_init",
    OnDestroyMark: "on_destroy",
    InjectValue: "inject_value",
    InjectService: "inject_service",
    AroundMark: "around",
    HealthCheckMark: "health_check",
    Policy: "Policy",
    AllowMark: "allow",
}

_OF_METHODS = (*(kind for kind in _NAMES if kind not in {Policy, AllowMark}), HttpMark)
"""The marks that have no effect on a class."""

_MADE = (InjectableMark, ImplementationMark, ComponentMark, ModuleMark)
"""The marks of classes, other than interfaces, whose methods may have marks by mistake."""


def class_problems(cls: type) -> list[str]:
    """The marks on a class itself that have no effect there."""
    problems = [
        f"{cls.__qualname__}: @{_name(mark)} decorates methods, so it has no effect on a class"
        for mark in marks_of(cls)
        if isinstance(mark, _OF_METHODS)
    ]
    is_service = find_mark(cls, ServiceMark) is not None
    if find_mark(cls, RestMark) is not None and not is_service:
        problems.append(f"{cls.__qualname__}: @rest belongs on a @service interface")
    if find_mark(cls, Policy) is not None and not is_service and find_mark(cls, ComponentMark) is None:
        problems.append(f"{cls.__qualname__}: @Policy belongs on a @service interface, on its methods, or a @component")
    if find_mark(cls, AllowMark) is not None and not is_service and find_mark(cls, ComponentMark) is None:
        problems.append(f"{cls.__qualname__}: @allow belongs on a @service interface, on its methods, or a @component")
    if find_mark(cls, HealthMark) is not None and not _implements_component(cls):
        problems.append(f"{cls.__qualname__}: @health belongs on a component's @implementation")
    return problems


def member_problems(cls: type) -> list[str]:
    """The marks on methods of a class that have no effect there, as those of an interface on its implementation."""
    problems = [
        f"{cls.__qualname__}.{name}: @{_name(mark)} {_reason(cls, name)}" for name, mark in _misplaced_methods(cls)
    ]
    if find_mark(cls, ModuleMark) is None:
        problems += [
            f"{cls.__qualname__}.{name}: @create belongs on a method of a @module class"
            for name, member in vars(cls).items()
            if find_mark(member, CreateMark) is not None
        ]
    # A base class need not be decorated, if the classes are that derive from it.
    if not type.__subclasses__(cls):  # a metaclass has no bound form of it
        for kind, needed, text in (
            (HealthCheckMark, HealthChecksMark, "has health checks, but is not decorated with @health_checks()"),
            (AroundMark, AdviceMark, "has methods with @around, but is not decorated with @advice"),
        ):
            if find_mark(cls, needed) is None and marked_methods(cls, kind):
                problems.append(f"{cls.__qualname__}: {text}")
    return problems


def _misplaced_methods(cls: type) -> Iterator[tuple[str, object]]:
    """The marks of interface methods in a class that is no interface, nor a base of one."""
    if find_mark(cls, ServiceMark) is not None or not any(isinstance(mark, _MADE) for mark in marks_of(cls)):
        return
    interfaces = {base for each in _services(cls) for base in each.__mro__}
    for owner in cls.__mro__:
        if owner in interfaces:
            continue
        for name, member in vars(owner).items():
            if not isinstance(member, type):
                yield from ((name, mark) for mark in marks_of(member) if isinstance(mark, METHOD_MARKS))


def _reason(cls: type, name: str) -> str:
    interface = next((each for each in _services(cls) if hasattr(each, name)), None)
    if interface is None:
        return "belongs on a method of a @service interface"
    return f"has no effect on an implementation; put it on {interface.__qualname__}.{name}"


def _services(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if find_mark(base, ServiceMark) is not None]


def _implements_component(cls: type) -> bool:
    is_implementation = find_mark(cls, ImplementationMark) is not None
    return is_implementation and any(find_mark(base, ComponentMark) is not None for base in cls.__mro__)


def _name(mark: object) -> str:
    return mark.verb.lower() if isinstance(mark, HttpMark) else _NAMES[type(mark)]
