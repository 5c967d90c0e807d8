"""Finds the keys in a body before the decoder makes sets and dicts of them.

msgspec makes these itself and asks nobody before it inserts a key. So a large body of a type that has keys with
unsalted hashes is decoded twice, first as another type: there a set is a list, the keys of a dict are texts or objects
of their own, and fields without such keys are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ForwardRef, Optional, TypeAlias, Union

import msgspec
from msgspec import inspect

from meshcore.codec.flooding.key_hashes import KeyChecker
from meshcore.codec.flooding.large_maps import as_key, keys_of_large_maps
from meshcore.codec.flooding.type_parts import Lists, Objects, has_untyped, is_keyed, plain_type, reachable

_Hook: TypeAlias = Callable[[type, Any], Any]
_Collect: TypeAlias = Callable[[Any, KeyChecker], None]


def key_guard(type_: Any, decode_hook: _Hook, *, json: bool) -> Callable[[bytes], None] | None:
    """A function that checks the keys in the body of a value, None if all of them have salted hashes.

    It raises `FloodingError`. For a body that is no value of the type it may raise what the decoder raises: the decoder
    would insert keys before it finds that.

    Args:
        type_: The type. It can be sent (see `wire_types`).
        decode_hook: The decoder's hook.
        json: Whether the body is JSON, not msgpack.
    """
    info = inspect.type_info(type_)
    shadow = _Shadow(decode_hook, json=json)
    typed = shadow.reader(info) if shadow.matters(info) else None
    # A model is decoded as Any first.
    untyped = not json and any(isinstance(part, inspect.AnyType | inspect.CustomType) for part in reachable(info))
    if typed is None and not untyped:
        return None

    def guard(data: bytes) -> None:
        checker = KeyChecker()
        if untyped:
            for keys in keys_of_large_maps(data):
                checker.check(keys, in_set=False)
        if typed is not None:
            typed(data, checker)

    return guard


class _Key:
    """A key of a msgpack map, which is equal to no other."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class _Shadow:
    """Makes the other type, and functions that collect the keys from its values."""

    def __init__(self, decode_hook: _Hook, *, json: bool) -> None:
        self._decode_hook = decode_hook
        self._json = json
        self._encode = msgspec.json.Encoder().encode if json else msgspec.msgpack.Encoder().encode
        self._structs: dict[int, type[msgspec.Struct]] = {}
        self._making: dict[int, str] = {}  # names of structs that are not complete
        self._fields: dict[type[msgspec.Struct], dict[str, _Collect]] = {}  # the fields that matter

    def matters(self, info: inspect.Type) -> bool:
        """Whether a value may contain a set or a dict whose keys have unsalted hashes."""
        return any(is_keyed(part) for part in reachable(info))

    def reader(self, info: inspect.Type) -> Callable[[bytes, KeyChecker], None]:
        """A function that reads a body and checks all keys in it."""
        type_, collect = self._of(info)
        decode = self._decoder(type_)

        def read(data: bytes, checker: KeyChecker) -> None:
            collect(decode(data), checker)

        return read

    def _decoder(self, type_: Any) -> Callable[[Any], Any]:
        decoder = msgspec.json.Decoder if self._json else msgspec.msgpack.Decoder
        return decoder(type_, dec_hook=self._hook).decode

    def _hook(self, type_: type, value: Any) -> Any:
        return _Key(value) if type_ is _Key else self._decode_hook(type_, value)

    def _of(self, info: inspect.Type) -> tuple[Any, _Collect]:
        """The other type for a type that matters, and what collects the keys from its values."""
        if isinstance(info, inspect.Metadata):
            return self._of(info.type)
        if isinstance(info, Lists):
            item, collect = self._of(info.item_type)
            return list[item], _each(collect)  # type: ignore[valid-type] # made at run time
        makers: dict[type[inspect.Type], Callable[[Any], tuple[Any, _Collect]]] = {
            inspect.SetType: self._of_set,
            inspect.FrozenSetType: self._of_set,
            inspect.DictType: self._of_dict,
            inspect.TupleType: self._of_tuple,
            inspect.UnionType: self._of_union,
        }
        return makers.get(type(info), self._of_object)(info)

    def _of_set(self, info: inspect.SetType | inspect.FrozenSetType) -> tuple[Any, _Collect]:
        item: Any = plain_type(info.item_type)
        # In msgpack, an untyped item may be an array.
        finish: Callable[[Any], Any] = as_key if not self._json and has_untyped(info.item_type) else _same
        if not self.matters(info.item_type):
            found_type: Any = list[item]
            return found_type, lambda found, checker: checker.check([*map(finish, found)], in_set=True)
        # The items have sets of their own, so each is read as the other type first.
        read, decode = self.reader(info.item_type), self._decoder(item)

        def collect(raws: list[msgspec.Raw], checker: KeyChecker) -> None:
            for raw in raws:
                read(bytes(raw), checker)
            checker.check([finish(decode(raw)) for raw in raws], in_set=True)

        return list[msgspec.Raw], collect

    def _of_dict(self, info: inspect.DictType) -> tuple[Any, _Collect]:
        value, inner = self._of(info.value_type) if self.matters(info.value_type) else (msgspec.Raw, _ignore)
        keys_of = self._keys(plain_type(info.key_type)) if is_keyed(info) else None
        key: Any = str if self._json else _Key

        def collect(found: dict[Any, Any], checker: KeyChecker) -> None:
            if keys_of is not None:
                checker.check(keys_of(found), in_set=False)
            for part in found.values():
                inner(part, checker)

        return dict[key, value], collect  # type: ignore[valid-type] # made at run time

    def _keys(self, key: Any) -> Callable[[dict[Any, Any]], list[Any]]:
        """What decodes the keys, in the same format as the decoder, so that they are the same."""
        read = self._decoder(list[dict[key, None]] if self._json else list[key])  # dicts of one entry each

        def keys_of(found: dict[Any, Any]) -> list[Any]:
            plain = [{text: None} for text in found] if self._json else [each.value for each in found]
            try:
                keys = read(self._encode(plain))
            except msgspec.ValidationError as error:
                reason, _, _ = str(error).rpartition(" - at `")  # a place in our own list
                raise msgspec.ValidationError(f"{reason} - at `key` in `$...`") from error
            return [each for entry in keys for each in entry] if self._json else keys

        return keys_of

    def _of_tuple(self, info: inspect.TupleType) -> tuple[Any, _Collect]:
        parts = [self._of(each) if self.matters(each) else (msgspec.Raw, _ignore) for each in info.item_types]

        def collect(found: tuple[Any, ...], checker: KeyChecker) -> None:
            for (_, inner), part in zip(parts, found, strict=True):
                inner(part, checker)

        return tuple[tuple(type_ for type_, _ in parts)], collect  # type: ignore[misc] # made at run time

    def _of_union(self, info: inspect.UnionType) -> tuple[Any, _Collect]:
        types: list[Any] = []
        collectors: list[tuple[type, _Collect]] = []
        for member in info.types:
            if isinstance(member, Objects):  # also those without keys: all objects in a union have tags
                type_, collect = self._of_object(member)
                collectors.append((msgspec.Struct, collect))
            elif self.matters(member):
                type_, collect = self._of(member)
                kinds: dict[Any, type] = {inspect.DictType: dict, inspect.TupleType: tuple}
                collectors.append((kinds.get(type(member), list), collect))
            else:
                type_ = plain_type(member)
            types.append(type_)

        def collect_any(found: Any, checker: KeyChecker) -> None:
            for kind, collect in collectors:
                if isinstance(found, kind):
                    collect(found, checker)
                    return

        return Union[tuple(types)], collect_any  # noqa: UP007 - the members are known at run time only

    def _of_object(self, info: Any) -> tuple[Any, _Collect]:
        key = id(info)
        if key in self._making:  # it contains itself
            return ForwardRef(self._making[key]), self._collect_object
        if key not in self._structs:
            self._making[key] = f"_shadow{len(self._making) + len(self._structs)}"
            self._structs[key] = self._struct(info, self._making[key])
            del self._making[key]
            # msgspec looks for forward references among the attributes of a class.
            for struct in self._structs.values():
                for other in self._structs.values():
                    setattr(struct, other.__name__, other)
        return self._structs[key], self._collect_object

    def _struct(self, info: Any, name: str) -> type[msgspec.Struct]:
        positional = isinstance(info, inspect.NamedTupleType) or getattr(info, "array_like", False)
        fields: list[tuple[str, Any, Any]] = []
        written: dict[str, str] = {}
        collectors: dict[str, _Collect] = {}
        for at, field in enumerate(info.fields):
            if self.matters(field.type):
                type_, collectors[f"f{at}"] = self._of(field.type)
                fields.append((f"f{at}", Optional[type_], None))  # noqa: UP045 - known at run time only
            elif positional:
                fields.append((f"f{at}", msgspec.Raw, None))
            written[f"f{at}"] = field.encode_name
        tags: dict[str, Any] = {"tag_field": getattr(info, "tag_field", None), "tag": getattr(info, "tag", None)}
        struct = msgspec.defstruct(name, fields, rename=written, array_like=positional, **tags)
        self._fields[struct] = collectors
        return struct

    def _collect_object(self, found: Any, checker: KeyChecker) -> None:
        for name, collect in self._fields[type(found)].items():
            value = getattr(found, name)
            if value is not None:
                collect(value, checker)


def _each(collect: _Collect) -> _Collect:
    def collect_each(found: list[Any], checker: KeyChecker) -> None:
        for part in found:
            collect(part, checker)

    return collect_each


def _ignore(found: Any, checker: KeyChecker) -> None: ...


def _same(value: Any) -> Any:
    return value
