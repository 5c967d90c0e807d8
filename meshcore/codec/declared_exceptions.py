"""Encodes the fields of declared exceptions, and restores the same class from them.

The fields of an exception are those of a dataclass, or else the parameters of its `__init__`, each of which it must
keep as an attribute of the same name. An exception without either sends its `args` as plain data.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any, cast, get_type_hints

import msgspec

from meshcore.codec.aliases import without_aliases
from meshcore.codec.wire_types import why_not_type
from meshcore.core.errors import Code, MeshError


class DeclaredException(msgspec.Struct, frozen=True, eq=False):
    """How one declared exception is sent.

    Attributes:
        cls: the class.
        name: its name on the wire.
        code: the attribute `code` of the class if that is a `Code`, else FAILED_PRECONDITION.
        carrier: a struct type with the exception's fields, in the order of its constructor.
        keyword_only: the fields that the constructor takes by name only.
    """

    cls: type[Exception]
    name: str
    code: Code
    carrier: type[msgspec.Struct]
    keyword_only: frozenset[str] = frozenset()

    def fields_of(self, error: Exception) -> msgspec.Struct:
        """The error's fields, ready to be encoded.

        Raises:
            AttributeError: the error does not keep a parameter of its constructor.
        """
        if self.carrier is ExceptionArguments:
            return ExceptionArguments(list(error.args))
        return self.carrier(*(getattr(error, name) for name in self.carrier.__struct_fields__))

    def restore(self, fields: msgspec.Struct) -> Exception:
        """A new error with these fields."""
        if isinstance(fields, ExceptionArguments):
            return self.cls(*fields.args)
        values = {name: getattr(fields, name) for name in self.carrier.__struct_fields__}
        positional = [value for name, value in values.items() if name not in self.keyword_only]
        return self.cls(*positional, **{name: values[name] for name in self.keyword_only})


class ExceptionArguments(msgspec.Struct):
    """The fields of an exception that declares none."""

    args: list[Any]


def declared_exception(cls: type[Exception]) -> DeclaredException:
    """How a declared exception is sent.

    Raises:
        TypeError: it cannot be sent; the text says why.
    """
    code = getattr(cls, "code", None)
    code = code if isinstance(code, Code) else Code.FAILED_PRECONDITION
    fields, keyword_only = _fields(cls)
    if fields is None:
        return DeclaredException(cls, cls.__name__, code, ExceptionArguments)
    for name, hint in fields.items():
        if reason := why_not_type(hint):
            msg = f"{cls.__qualname__}({name}): {reason}"
            raise TypeError(msg)
    carrier = msgspec.defstruct(cls.__name__, list(fields.items()), module=cls.__module__)
    return DeclaredException(cls, cls.__name__, code, carrier, keyword_only)


def why_not_exception(cls: Any) -> str | None:
    """Why a class cannot be declared with `@raises`, None if it can."""
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        return f"{cls!r} is not an exception class"
    if issubclass(cls, MeshError):
        return (
            f"{cls.__qualname__} derives from MeshError, which says what the mesh found and arrives as such: derive it "
            "from Exception, with a class attribute `code` if it is to have one of the codes"
        )
    try:
        declared_exception(cls)
    except TypeError as error:
        return str(error)
    return None


def _fields(cls: Any) -> tuple[dict[str, Any] | None, frozenset[str]]:
    if dataclasses.is_dataclass(cls):
        entries = [field for field in dataclasses.fields(cls) if field.init]
        hints = _hints(cast("type", cls), cls)
        by_name = frozenset(field.name for field in entries if field.kw_only)
        return {field.name: hints[field.name] for field in entries}, by_name
    init: Any = inspect.getattr_static(cls, "__init__")
    if not inspect.isfunction(init):  # inherited from BaseException
        return None, frozenset()
    hints = _hints(cls, init)
    fields: dict[str, Any] = {}
    only: set[str] = set()
    for parameter in list(inspect.signature(init).parameters.values())[1:]:
        if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            msg = f"{cls.__qualname__}.__init__: cannot travel with {stars}{parameter.name}; name its fields"
            raise TypeError(msg)
        if parameter.name not in hints:
            msg = f"{cls.__qualname__}.__init__({parameter.name}): has no type annotation"
            raise TypeError(msg)
        fields[parameter.name] = hints[parameter.name]
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            only.add(parameter.name)
    return fields, frozenset(only)


def _hints(cls: type, target: Any) -> dict[str, Any]:
    try:
        hints = get_type_hints(target, include_extras=True)
        names = vars(sys.modules[cls.__module__])
        return {name: without_aliases(hint, names) for name, hint in hints.items()}
    except Exception as error:
        msg = f"{cls.__qualname__}: its annotations cannot be evaluated: {error}"
        raise TypeError(msg) from error
