"""Tells which members of a service class are the methods of its interface."""

from __future__ import annotations

import dis
import inspect
from functools import partialmethod
from types import CodeType, FunctionType
from typing import Any, Final, Protocol

from meshcore.core.marks import marks_of
from meshcore.core.policy import Policy
from meshcore.declare.http import HttpMark
from meshcore.declare.security.authorization import AllowMark
from meshcore.declare.security.pass_token import PassTokenMark
from meshcore.declare.services import AffinityMark, IdempotencyKeyMark, IdempotentMark, RaisesMark, ShieldedMark
from meshcore.declare.streaming.resumption import ResumableMark

METHOD_MARKS: Final = (
    HttpMark,
    RaisesMark,
    IdempotentMark,
    AffinityMark,
    ShieldedMark,
    PassTokenMark,
    IdempotencyKeyMark,
    ResumableMark,
    Policy,
    AllowMark,
)
"""The marks of decorators for the methods of an interface. Each of them makes a method a part of the interface."""

_MEMBERS: Final = (FunctionType, property, staticmethod, classmethod)


def interface_functions(interface: type, problems: list[str]) -> dict[str, tuple[Any, Any]]:
    """The methods of the interface, each with the class that defines it; those of base classes first.

    These are the abstract methods, those with a mark of the mesh, and the public ones with an empty body; in a protocol
    all public methods. A method with a body of its own is a helper.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for owner in reversed(interface.__mro__):
        for name, member in vars(owner).items():
            if not _is_declared(owner, name, member):
                if name in found and inspect.isfunction(member):
                    del found[name]  # implemented in the interface itself, so it is not called remotely
                continue
            place = f"{interface.__qualname__}.{name}"
            if not inspect.isfunction(member):
                kind = type(member).__name__
                problems.append(f"{place}: an interface has plain methods only, this is a {kind}")
            elif name.startswith("_"):
                problems.append(f"{place}: a method of an interface must be public")
            else:
                found[name] = (owner, member)
    return found


def _is_declared(owner: type, name: str, member: Any) -> bool:
    if isinstance(member, type):
        return False
    if isinstance(member, partialmethod):  # it calls the function itself, which nobody has implemented
        member = member.func
    marked = any(isinstance(mark, METHOD_MARKS) for mark in marks_of(member))
    if marked or getattr(member, "__isabstractmethod__", False):
        return True
    if name.startswith("_") or not isinstance(member, _MEMBERS) or owner is Protocol:
        return False
    return bool(getattr(owner, "_is_protocol", False)) or has_empty_body(member)


def has_empty_body(member: Any) -> bool:
    """Whether a method does nothing: its body is `pass`, `...`, a docstring, or a `return` without a value.

    Its code tells, not its source, which need not be there. Of a decorated method, the decorated function counts.
    """
    function = member.fget if isinstance(member, property) else member
    # A staticmethod and a classmethod have `__wrapped__`, too.
    code = getattr(inspect.unwrap(function), "__code__", None) if function is not None else None
    if not isinstance(code, CodeType) or code.co_name == "<lambda>":
        return False
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        return False
    return _steps(code) == _EMPTY[bool(code.co_flags & inspect.CO_COROUTINE)]


def _steps(code: CodeType) -> list[tuple[str, object]]:
    """The instructions. Each statement that does nothing leaves a NOP, for debuggers."""
    return [(each.opname, each.argval) for each in dis.get_instructions(code) if each.opname != "NOP"]


def _empty() -> None:
    pass


async def _empty_async() -> None:
    pass


_EMPTY: Final = {False: _steps(_empty.__code__), True: _steps(_empty_async.__code__)}
"""How the running Python compiles an empty body, by whether it is async."""
