"""Reads large bodies of pydantic models, so that none takes much longer than an honest one.

pydantic inserts each key of a set or dict as soon as it has read it. And it lists all errors: 800,000 wrong numbers in
4 MB took 3 s and 700 MB. So the schema of a model is copied, with a check behind each schema of keys, and with lists
that end at their first error. Only large bodies are read by the copy: the check takes 0.5 us a key.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, cast

from meshcore.codec.flooding.key_hashes import MAX_EQUAL, SMALL, STEP, FloodingError, TimedInsertions

# Types of schemas whose values have salted hashes, or are few.
_SALTED = frozenset({"str", "bytes", "date", "bool", "none", "enum", "literal", "url", "multi-host-url"})
# Types of schemas whose class has a validator of its own.
_WITH_VALIDATORS = frozenset({"model", "dataclass"})
_LISTS = frozenset({"list", "set", "frozenset", "tuple"})
_INNER = {"set": "items_schema", "frozenset": "items_schema", "dict": "keys_schema"}


class ModelReader:
    """Reads large bodies of one model.

    Args:
        model: A class of pydantic models.
    """

    def __init__(self, model: Any) -> None:
        self._sites: list[_Site] = []
        self._classes: list[Any] = []
        schema = self._guarded(model.__pydantic_core_schema__)
        with _no_prebuilt(self._classes):
            self._validator: Any = importlib.import_module("pydantic_core").SchemaValidator(schema)

    def validate_json(self, data: bytes) -> Any:
        """Validate JSON.

        Raises:
            pydantic.ValidationError: The model refuses it. Of a list, only the first error is told.
            FloodingError: Its keys collide.
        """
        for site in self._sites:
            site.clear()
        try:
            return self._validator.validate_json(data, by_alias=True, by_name=True)
        except _Collision as error:
            raise FloodingError(error.keys) from None

    def _guarded(self, schema: Any) -> Any:
        """A copy of a schema, or of a part of one."""
        if isinstance(schema, list | tuple):
            parts = [self._guarded(part) for part in cast("list[Any]", schema)]
            return parts if isinstance(schema, list) else tuple(parts)
        if not isinstance(schema, dict):
            return schema
        copy = {key: self._guarded(part) for key, part in cast("dict[str, Any]", schema).items()}
        if copy.get("type") in _WITH_VALIDATORS:
            self._classes.append(copy["cls"])
        if copy.get("type") in _LISTS:
            copy["fail_fast"] = True
        inner = _INNER.get(copy.get("type", ""))
        if inner is not None and not _is_salted(copy.get(inner, {"type": "any"})):
            site = _Site(in_set=inner == "items_schema")
            self._sites.append(site)
            function = {"type": "no-info", "function": site.see}
            copy[inner] = {"type": "function-after", "function": function, "schema": copy.get(inner, {"type": "any"})}
        return copy


@contextmanager
def _no_prebuilt(classes: Iterable[Any]) -> Generator[None]:
    """Let pydantic make a validator of a schema only: for complete classes it would take the validators they have."""
    complete = [each for each in classes if each.__dict__.get("__pydantic_complete__")]
    for each in complete:
        each.__pydantic_complete__ = False
    try:
        yield
    finally:
        for each in complete:
            each.__pydantic_complete__ = True


class _Collision(Exception):  # noqa: N818 - pydantic goes on after a ValueError
    """The keys at one place collide."""

    def __init__(self, keys: int) -> None:
        super().__init__(keys)
        self.keys = keys


class _Site:
    """The keys at one place of a schema. Those of all containers there are counted together."""

    def __init__(self, *, in_set: bool) -> None:
        self._in_set = in_set
        self.clear()

    def clear(self) -> None:
        """Start a body."""
        self._by_hash: dict[str, list[Any]] = {}  # the hashes as texts, which are salted
        self._hashes: list[int] = []
        self._timed: TimedInsertions | None = None

    def see(self, key: Any) -> Any:
        """Count a key, and return it.

        Raises:
            _Collision: The keys collide.
        """
        try:
            value = hash(key)
        except TypeError:  # pydantic refuses it, too
            return key
        same = self._by_hash.setdefault(str(value), [])
        if key in same:
            return key
        same.append(key)
        self._hashes.append(value)
        if len(same) > MAX_EQUAL or (len(self._hashes) % STEP == 0 and not self._is_quick()):
            raise _Collision(len(self._hashes))
        return key

    def _is_quick(self) -> bool:
        count = len(self._hashes)
        if count <= SMALL:
            return True
        if self._timed is None:
            self._timed = TimedInsertions(in_set=self._in_set)
            return all(self._timed.insert(self._hashes[at : at + STEP]) for at in range(0, count, STEP))
        return self._timed.insert(self._hashes[-STEP:])


def _is_salted(schema: Mapping[str, Any]) -> bool:
    """Whether nobody can choose keys of such a schema that collide."""
    if schema["type"] in {"nullable", "default", "function-after", "function-before"}:
        return schema["type"] in {"nullable", "default"} and _is_salted(schema["schema"])
    return schema["type"] in _SALTED
