"""Reads the contract types of Python types, from msgspec's description of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_origin

import msgspec
from msgspec import UNSET, UnsetType, inspect

from meshcore.codec.pydantic_models import is_model, plain
from meshcore.contract.contract import Field, Structure, Type
from meshcore.contract.pydantic_types import ModelReader, Structures, enum_of, union_of

_SCALARS: Mapping[type[inspect.Type], str] = {
    inspect.AnyType: "any",
    inspect.RawType: "any",
    inspect.NoneType: "none",
    inspect.BoolType: "bool",
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.StrType: "str",
    inspect.BytesType: "bytes",
    inspect.ByteArrayType: "bytes",
    inspect.MemoryViewType: "bytes",
    inspect.DecimalType: "decimal",
    inspect.UUIDType: "uuid",
    inspect.DateTimeType: "datetime",
    inspect.DateType: "date",
    inspect.TimeType: "time",
    inspect.TimeDeltaType: "timedelta",
}
_ARRAYS: Mapping[type[inspect.Type], str] = {
    inspect.ListType: "list",
    inspect.VarTupleType: "list",
    inspect.SetType: "set",
    inspect.FrozenSetType: "set",
}
_LIMITS = ("ge", "gt", "le", "lt", "multiple_of", "pattern", "min_length", "max_length", "tz")
_EMPTY: Mapping[Any, Any] = {list: [], tuple: [], set: [], frozenset: [], dict: {}}
"""The defaults of factories that make the same value each time."""


def plain_default(value: object) -> Any | UnsetType:
    """Return a default as plain data; unset if that is not possible."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, order="deterministic", enc_hook=plain))
    except Exception:  # noqa: BLE001 - defaults need not travel, and to encode one may run code of the user
        return UNSET


class TypeReader:
    """Reads the types of one service, and collects the structures in them.

    Attributes:
        types: the structures by name. If two classes have the same name, the second one is called `Name#2`.
    """

    def __init__(self, types: Iterable[Any]) -> None:
        """Describe all types together, so that each class has one description."""
        self._wanted = list(types)
        self._infos = iter(inspect.multi_type_info(self._wanted))
        self._structures = Structures()
        self.types = self._structures.types

    def next(self) -> Type:
        """Return the next type, in the given order."""
        return self._read(next(self._infos))

    def next_fields(self) -> tuple[Field, ...]:
        """Return the fields of the next type, which is the carrier of a declared exception."""
        info = next(self._infos)
        assert isinstance(info, inspect.StructType)  # noqa: S101 - a carrier is a struct
        return tuple(map(self._field, info.fields))

    def _read(self, info: inspect.Type) -> Type:  # noqa: PLR0911 - one for each kind
        match info:
            case inspect.Metadata():
                return self._read(info.type)
            case inspect.UnionType():
                return union_of(map(self._read, info.types))
            case inspect.EnumType():
                return enum_of([member.value for member in info.cls], info.cls.__name__)
            case inspect.LiteralType():
                return enum_of(info.values)
            case inspect.TupleType():
                return Type("tuple", parts=tuple(map(self._read, info.item_types)))
            case inspect.DictType():
                return Type("map", parts=(self._read(info.key_type), self._read(info.value_type)), limits=_limits(info))
            case inspect.CustomType():
                return ModelReader(info.cls, self._structures).read() if is_model(info.cls) else Type("any")
            case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
                return Type(_ARRAYS[type(info)], parts=(self._read(info.item_type),), limits=_limits(info))
            case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType() | inspect.NamedTupleType():
                return self._structure(info)
            case _:
                return Type(_SCALARS.get(type(info), "any"), limits=_limits(info))

    def _structure(
        self, info: inspect.StructType | inspect.DataclassType | inspect.TypedDictType | inspect.NamedTupleType
    ) -> Type:
        cls: Any = get_origin(info.cls) or info.cls
        name, known = self._structures.named(id(info), cls.__name__)
        if not known:
            fields = tuple(map(self._field, info.fields))
            if isinstance(info, inspect.StructType):
                if cls.__struct_config__.omit_defaults and not info.array_like:  # an array leaves out nothing
                    fields = tuple(msgspec.structs.replace(each, omitted=not each.required) for each in fields)
                tag = (info.tag_field, info.tag) if info.tag_field is not None and info.tag is not None else None
                self.types[name] = Structure(fields, info.array_like, info.forbid_unknown_fields, tag)
            else:
                record = isinstance(info, inspect.NamedTupleType)
                self.types[name] = Structure(fields, record=record, closed=record)
        return Type("ref", name=name)

    def _field(self, field: inspect.Field) -> Field:
        default: Any = UNSET
        if field.default is not msgspec.NODEFAULT:
            default = plain_default(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            factory: Any = get_origin(field.default_factory) or field.default_factory
            default = _EMPTY.get(factory, UNSET)
        # An optional field without a default is a key of a typed dict, or UNSET. Both may be left out.
        omitted = not field.required and field.default is msgspec.NODEFAULT is field.default_factory
        return Field(field.encode_name, self._read(field.type), field.required, omitted, default)


def _limits(info: inspect.Type) -> dict[str, Any]:
    return {name: value for name in _LIMITS if (value := getattr(info, name, None)) is not None}
