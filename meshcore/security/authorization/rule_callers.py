"""The callers that a rule is for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from meshcore.core.access import AccessRule, Callers
from meshcore.core.caller import Caller, Proof


class RuleCallers:
    """The callers of a rule, compiled.

    Attributes:
        name: of the rule, for the log.
        denies: whether it denies.
        claims: the values that are accepted, by the name of each claim.
    """

    __slots__ = ("_components", "_identities", "_kind", "claims", "denies", "name")

    def __init__(self, rule: AccessRule) -> None:
        self.name = f"rule {rule.name!r}"
        self.denies = rule.effect == "deny"
        callers = rule.callers
        self._kind: Literal["any", "proven", "certain"] = "certain" if isinstance(callers, Callers) else callers
        certain = callers if isinstance(callers, Callers) else Callers()
        self._components = frozenset(certain.components)
        self._identities = [_identity_pattern(each) for each in certain.identities]
        self.claims = {name: frozenset(map(frozen_claim, values)) for name, values in certain.claims.items()}

    def includes(self, caller: Caller, values: Mapping[str, frozenset[object]]) -> bool:
        """Whether the caller is one of them.

        Args:
            caller: who calls.
            values: what `claim_values` says of the claims of that caller, by name; at least of those of this rule.
        """
        if self._kind != "certain":
            return self._kind == "any" or caller.proof is not Proof.NONE
        if (self._components or self._identities) and not self._is_one(caller):
            return False
        return all(not accepted.isdisjoint(values[name]) for name, accepted in self.claims.items())

    def _is_one(self, caller: Caller) -> bool:
        if caller.component and caller.component in self._components:
            return True
        return bool(caller.identity) and any(each.fullmatch(caller.identity) for each in self._identities)


def _identity_pattern(pattern: str) -> re.Pattern[str]:
    parts = [re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("**")]
    return re.compile(".*".join(parts), re.DOTALL)


def claim_of(claims: Mapping[str, Any], name: str) -> object:
    """The value of a claim, None if there is none. A name with dots may lead into nested objects."""
    if name in claims or "." not in name:
        return claims.get(name)
    found: Any = claims
    for step in name.split("."):
        found = cast("Mapping[str, Any]", found).get(step) if isinstance(found, Mapping) else None
    return found


def frozen_claim(value: object) -> object:
    """The value as a key. JSON's true is not its 1, which Python would take for the same."""
    if isinstance(value, list | tuple):
        return tuple(map(frozen_claim, cast("list[object]", value)))
    if isinstance(value, str):
        return value
    return (type(value).__name__, value) if isinstance(value, int) else None


def claim_values(claims: Mapping[str, Any], name: str) -> frozenset[object]:
    """The values that a claim has: those in a list, and the words of a scope (RFC 8693, 4.2)."""
    value = claim_of(claims, name)
    if name in {"scope", "scp"} and isinstance(value, str):
        value = value.split()
    values = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
    return frozenset(map(frozen_claim, values)) - {None}
