"""Rules of operators: who may call what. Read from settings and from a value source, and checked as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from meshcore.core.errors import ConfigurationError
from meshcore.core.suggest import did_you_mean

ANYONE: Final = "*"
"""Stands for all callers in `Method.allowed` and the like, also for those who have proven nothing."""

Claim: TypeAlias = str | int | bool

_LONGEST: Final = 200
_METHODS: Final = re.compile(r"[\w.*-]+|/[^\s?#]*")
_NAME: Final = re.compile(r"[^\s/*:]+")


class Callers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Certain callers. The process has one of the components or identities, if there are any; the token has all claims.

    Attributes:
        components: their names.
        identities: patterns of SPIFFE ids or DNS names; `*` stands for a part without a slash, `**` for any.
        claims: of a verified token, by name, each with the values of which it has to have one. A name with dots leads
            into nested objects.
    """

    components: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    claims: dict[str, tuple[Claim, ...]] = {}


class AccessRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Allows or denies some methods to some callers.

    Attributes:
        name: which the log gives for a denial.
        methods: patterns of `service.method`, with `*` for any characters; the name of a component or service for all
            of its methods; `*` for all. What begins with a slash is a pattern of the paths of operators' endpoints.
        callers: certain ones; "proven" for all who have proven an identity; "any" for everybody.
        effect: what it does. Of several rules that fit, one that denies counts.
    """

    name: str
    methods: tuple[str, ...]
    callers: Callers | Literal["any", "proven"]
    effect: Literal["allow", "deny"]


def read_rules(value: object, place: str = "rules") -> tuple[AccessRule, ...]:
    """Read rules from plain data: a list of tables.

    Args:
        value: as TOML or JSON has it. Where a tuple stands in the fields above, a single value will do.
        place: what the errors call it.

    Raises:
        ConfigurationError: with everything that is wrong.
    """
    problems: list[str] = []
    found: list[AccessRule] = []
    if not isinstance(value, list | tuple):
        problems.append(f"{place} must be a list of tables, got {type(value).__name__}")
        value = []
    for at, each in enumerate(cast("list[object]", value)):
        rule = each if isinstance(each, AccessRule) else _read(each, f"{place}[{at}]", problems)
        if rule is not None:
            problems += [f"{place}[{at}] ({rule.name}): {reason}" for reason in _objections(rule)]
            if any(other.name == rule.name for other in found):
                problems.append(f"{place}[{at}]: another rule is called {rule.name!r}, and the log tells them by name")
            found.append(rule)
    if problems:
        raise ConfigurationError("The rules cannot be used", problems)
    return tuple(found)


def decode_rules(raw: object, place: str) -> tuple[AccessRule, ...]:
    """Read rules from a value of a value source: JSON text, or what a file of settings has.

    Args:
        raw: the value.
        place: what the errors call it.

    Raises:
        ConfigurationError: with everything that is wrong.
    """
    if isinstance(raw, str | bytes):
        try:
            raw = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError("The rules cannot be used", [f"{place} is no JSON: {error}"]) from error
    return read_rules(raw, place)


def _read(value: object, place: str, problems: list[str]) -> AccessRule | None:
    if not isinstance(value, Mapping):
        problems.append(f"{place} must be a table, got {type(value).__name__}")
        return None
    table = dict(cast("Mapping[str, Any]", value))
    before = len(problems)
    problems += _unknown(table, AccessRule, place)
    problems += [f"{place}: {name} is missing" for name in AccessRule.__struct_fields__ if name not in table]
    table["methods"] = _listed(table.get("methods"))
    if isinstance(callers := table.get("callers"), Mapping):
        inner = table["callers"] = dict(cast("Mapping[str, Any]", callers))
        problems += _unknown(inner, Callers, f"{place}.callers")
        for name in ("components", "identities"):
            if name in inner:
                inner[name] = _listed(inner[name])
        if isinstance(claims := inner.get("claims"), Mapping):
            inner["claims"] = {name: _listed(each) for name, each in cast("Mapping[str, Any]", claims).items()}
    elif "callers" in table and callers not in ("any", "proven"):
        problems.append(f'{place}: callers must be "any", "proven", or a table of components, identities and claims')
    if len(problems) > before:
        return None
    try:
        return msgspec.convert(table, AccessRule)
    except msgspec.ValidationError as error:
        problems.append(f"{place}: {error}")
        return None


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


def _unknown(table: Mapping[str, Any], struct: type[msgspec.Struct], place: str) -> list[str]:
    names = struct.__struct_fields__
    return [f"{place}: no field {name!r}{did_you_mean(name, names)}" for name in table if name not in names]


def _objections(rule: AccessRule) -> list[str]:
    found: list[str] = []
    if not rule.name.strip() or len(rule.name) > _LONGEST or not rule.name.isprintable():
        found.append(f"name must be a text of 1 to {_LONGEST} characters on one line")
    if not rule.methods:
        found.append('methods names none; write "*" for all')
    found += [
        f"methods: {each!r} is no pattern such as 'orders.*'" for each in rule.methods if not _METHODS.fullmatch(each)
    ]
    if isinstance(rule.callers, Callers):
        callers = rule.callers
        if not (callers.components or callers.identities or callers.claims):
            found.append('callers says nothing; write "any" for everybody')
        found += [
            f"callers.components: {each!r} cannot be the name of a component"
            for each in callers.components
            if not _NAME.fullmatch(each)
        ]
        found += [f"callers.identities: {each!r} is no pattern" for each in callers.identities if not each.strip()]
        found += [f"callers.claims.{name} lists no values" for name, values in callers.claims.items() if not values]
    return found
