"""Encodes the fields of declared exceptions, and restores the same class from them.

The fields of an exception are those of a dataclass, or else the parameters of its `__init__`, each of which it must
keep as an attribute of the same name. An exception without either sends its `args` as plain data.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any, NoReturn, cast, get_type_hints

import msgspec

from meshcore.codec.aliases import without_aliases
from meshcore.codec.wire_types import why_not_type
from meshcore.core.errors import Code, MeshError
from meshcore.core.suggest import closest


class DeclaredException(msgspec.Struct, frozen=True, eq=False):
    """How one declared exception is sent.

    Attributes:
        cls: the class.
        name: its name on the wire.
        code: the attribute `code` of the class, FAILED_PRECONDITION if it has none.
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
    fields, keyword_only = _fields(cls)
    code = _code(cls, fields or {})
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


def _code(cls: type[Exception], fields: dict[str, Any]) -> Code:
    """The code of the class.

    Raises:
        TypeError: the class looks as if it were to have another code than it has.
    """
    own = {name: value for each in reversed(cls.__mro__) if each not in _BUILT_IN for name, value in vars(each).items()}
    found = own.get("code")
    if "code" in fields:
        if isinstance(found, Code) or fields["code"] is Code:
            _refuse(f"{cls.__qualname__}.code", "is a field, so that each error may have another code", Code.NOT_FOUND)
        return Code.FAILED_PRECONDITION  # data of the application, such as "E42"
    if isinstance(found, Code):
        return found
    if found is not None:
        got = repr(found) if isinstance(found, str | int) else f"a {type(found).__name__}"
        _refuse(f"{cls.__qualname__}.code", f"must be a Code, got {got}", *_meant(found))
    if any("code" in inspect.get_annotations(each) for each in cls.__mro__):
        _refuse(f"{cls.__qualname__}.code", "is declared, and has no value", Code.NOT_FOUND)
    for name, value in own.items():
        if name in fields or name.startswith("__"):
            continue
        if isinstance(value, Code):
            _refuse(f"{cls.__qualname__}.{name}", "is a Code, but the attribute must be called `code`", value)
        if name in _STATUS_NAMES and (codes := _meant(value)):
            _refuse(f"{cls.__qualname__}.{name}", "does not set the HTTP status, its code does", *codes)
    return Code.FAILED_PRECONDITION


_BUILT_IN = frozenset(Exception.__mro__)
_STATUS_NAMES = frozenset({"status", "status_code", "http_status", "http_code", "http_status_code"})


def _meant(value: object) -> list[Code]:
    """The codes that somebody may have meant by a status or a text."""
    if isinstance(value, int):
        return [code for code in Code if code.http_status == value]
    if not isinstance(value, str):
        return []
    name = value.rpartition(".")[2].strip().lower().replace("-", "_").replace(" ", "_")
    close = closest(name, [code.value for code in Code])
    return [Code(close)] if close else []


def _refuse(place: str, reason: str, *codes: Code) -> NoReturn:
    """Raise what is wrong with a code, and how it is written.

    Raises:
        TypeError: always.
    """
    meant = " or ".join(str(code) for code in codes) or "Code.NOT_FOUND or another, or give the attribute another name"
    msg = f"{place} {reason}: write code: ClassVar[Code] = {meant}"
    raise TypeError(msg)


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
