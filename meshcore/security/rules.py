"""Judges who may call what: rules of operators and what interfaces say, compiled. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from meshcore.core.access import ANYONE, AccessRule, Callers
from meshcore.core.caller import Caller, Proof
from meshcore.core.description import ComponentDescription, Method
from meshcore.core.errors import ConfigurationError

MOST_DECISIONS: Final = 16_384
"""Decisions that are kept, about 0.3 KB each. Who may call is judged anew when there would be more."""


class Verdict(msgspec.Struct, frozen=True):
    """What is decided of a call.

    Attributes:
        allowed: whether it may be made.
        rule: what decides, for the log of the server.
        proof_helps: whether who has proven nothing might be allowed with a proof.
        default: whether nothing fits, so that the default decides.
    """

    allowed: bool
    rule: str
    proof_helps: bool = False
    default: bool = False


_OPEN: Final = Verdict(allowed=True, rule="nothing is said of its component", default=True)
_OWN: Final = Verdict(allowed=True, rule="calls of this process are always allowed")


class Target(msgspec.Struct, frozen=True):
    """A method, and what is said of it where it is declared.

    Attributes:
        component: the name of the component that offers it.
        service: the name of its service.
        method: its name as `service.method`; of an operators' endpoint its path.
        allowed: the components that the innermost declaration allows, `*` for everybody; None if there is none.
        declared: where that stands, for the log.
        said: whether anything is declared about the component.
    """

    component: str
    service: str
    method: str
    allowed: tuple[str, ...] | None = None
    declared: str = ""
    said: bool = False


def targets_of(components: Iterable[ComponentDescription]) -> dict[Method, Target]:
    """What the interfaces of components say of their methods.

    Raises:
        ConfigurationError: two components that offer the same service say different things.
    """
    found: dict[Method, Target] = {}
    for component in components:
        services = component.services
        marks = [component.allowed, *(service.allowed for service in services)]
        marks += [method.allowed for service in services for method in service.methods]
        said = any(each is not None for each in marks)
        for service in services:
            for method in service.methods:
                places = ((method.allowed, str(method)), (service.allowed, service.name))
                of_component = (component.allowed, component.name)
                allowed, where = next((each for each in (*places, of_component) if each[0] is not None), (None, ""))
                word = "@allow_any" if allowed == (ANYONE,) else "@allow"
                declared = f"{word} of {where}" if where else ""
                target = Target(component.name, service.name, str(method), allowed, declared, said)
                if (other := found.get(method)) is not None and (other.allowed, other.said) != (allowed, said):
                    text = (
                        f"{method} is offered by {other.component!r} and {component.name!r}, which allow other callers"
                    )
                    raise ConfigurationError("The declarations contradict", [f"{text}; say it on {service.name!r}"])
                found[method] = target
    return found


class Judge:
    """Rules and declarations, compiled. Decisions are kept, so that most calls cost a look-up.

    For a method and a caller, in this order: a rule that denies; a rule that allows; the innermost declaration. If none
    of them fits, the call is denied if anything is said about the component, by a declaration or a rule of whichever
    effect, and allowed if nothing is.

    Args:
        rules: of the operators.
        targets: the methods, and what is declared of them.
    """

    def __init__(self, rules: Iterable[AccessRule], targets: Mapping[Method, Target]) -> None:
        self.rules = tuple(rules)
        self._targets = targets
        self._compiled: dict[Method, _Compiled] = {}
        self._paths: dict[str, _Compiled] = {}
        self._kept = 0
        self._said = {target.component for target in targets.values() if target.said}
        opened = set(self._said)
        self._fitting: dict[Target, list[_Who]] = {target: [] for target in targets.values()}
        self._of_paths: list[tuple[_Match, _Who]] = []
        self._unfit: list[AccessRule] = []
        for rule in self.rules:
            who, fitting = _Who(rule), set[Target]()
            for pattern in rule.methods:
                if pattern.startswith("/"):  # `*` does not open what is for operators
                    self._of_paths.append((_matcher(pattern), who))
                else:
                    fitting |= _fitting(pattern, targets.values())
            for target in fitting:
                self._fitting[target].append(who)
            said = {target.component for target in fitting}
            self._said |= said
            opened |= said if rule.effect == "allow" else set()
            if not fitting and not any("*" in each or each.startswith("/") for each in rule.methods):
                self._unfit.append(rule)
        self._only_denied = sorted(self._said - opened)

    @property
    def warnings(self) -> list[str]:
        """What is allowed, but probably not meant."""
        closed = "rules only deny, and nothing allows, so nobody may call it"
        return [f"component {component!r}: {closed}" for component in self._only_denied] + [
            f"rule {rule.name!r} names no method that is served here: {', '.join(rule.methods)}" for rule in self._unfit
        ]

    @property
    def empty(self) -> bool:
        """Whether nothing is said about any method, so that every call is allowed."""
        return not self._said

    def judge(self, method: Method, caller: Caller) -> Verdict:
        """Decide whether a caller may call a method."""
        compiled = self._compiled.get(method)
        if compiled is None:
            compiled = self._compiled[method] = self._compile(self._targets.get(method))
        return self._decide(compiled, caller)

    def judge_path(self, path: str, caller: Caller) -> Verdict:
        """Decide whether a caller may read an operators' endpoint. Without a rule that allows it, nobody may.

        Args:
            path: of the endpoint as it is routed, not as it was sent, so that there is a bounded number of them.
            caller: who asks.
        """
        compiled = self._paths.get(path)
        if compiled is None:
            compiled = self._paths[path] = self._compile(Target("", "", path, said=True))
        return self._decide(compiled, caller)

    def _decide(self, compiled: _Compiled, caller: Caller) -> Verdict:
        if compiled.constant is not None:
            return compiled.constant
        if compiled.claims and caller.claims:
            values = tuple([_frozen(claim_of(caller.claims, name)) for name in compiled.claims])
            key: tuple[Any, ...] = (caller.identity, caller.component, caller.proof, values)
        else:
            key = (caller.identity, caller.component, caller.proof)
        found = compiled.decisions.get(key)
        return self._remember(compiled, key, caller) if found is None else found

    def _remember(self, compiled: _Compiled, key: tuple[Any, ...], caller: Caller) -> Verdict:
        if self._kept >= MOST_DECISIONS:
            self._kept = 0
            for each in (*self._compiled.values(), *self._paths.values()):
                each.decisions.clear()
        self._kept += 1
        found = compiled.decisions[key] = compiled.decide(caller)
        return found

    def _compile(self, target: Target | None) -> _Compiled:
        if target is None or (target.component and target.component not in self._said):
            return _Compiled((), None)  # what this process does not serve, or of which nothing is said
        if target.component:
            return _Compiled(self._fitting[target], target)
        return _Compiled([who for match, who in self._of_paths if match.fullmatch(target.method)], target)


class _Compiled:
    """The rules that fit one method.

    Attributes:
        claims: the names of the claims that they ask for.
        constant: the verdict on all callers, if it is the same.
        decisions: those that are kept, by what they depend on.
    """

    __slots__ = ("_allow", "_deny", "_target", "claims", "constant", "decisions")

    def __init__(self, fitting: Iterable[_Who], target: Target | None) -> None:
        whos = tuple(fitting)
        self._deny = tuple(who for who in whos if who.denies)
        self._allow = tuple(who for who in whos if not who.denies)
        self._target = target
        self.claims = tuple(dict.fromkeys(name for who in whos for name in who.claims))
        self.constant = _OPEN if target is None else None
        self.decisions: dict[tuple[Any, ...], Verdict] = {}

    def decide(self, caller: Caller) -> Verdict:
        """Decide anew."""
        target = self._target
        if target is None or caller.proof is Proof.PROCESS:
            return _OWN
        for who in self._deny:
            if who.includes(caller):
                return Verdict(allowed=False, rule=who.name)
        for who in self._allow:
            if who.includes(caller):
                return Verdict(allowed=True, rule=who.name)
        declared = target.allowed
        if declared is not None and (declared == (ANYONE,) or (caller.component and caller.component in declared)):
            return Verdict(allowed=True, rule=target.declared)
        anonymous = caller.proof is Proof.NONE and not caller.claims
        helps = anonymous and bool(self._allow or declared)
        return Verdict(allowed=False, rule=target.declared or "no rule allows it", proof_helps=helps, default=True)


class _Who:
    """The callers of a rule."""

    __slots__ = ("_components", "_identities", "_kind", "claims", "denies", "name")

    def __init__(self, rule: AccessRule) -> None:
        self.name = f"rule {rule.name!r}"
        self.denies = rule.effect == "deny"
        callers = rule.callers
        self._kind: Literal["any", "proven", "certain"] = "certain" if isinstance(callers, Callers) else callers
        certain = callers if isinstance(callers, Callers) else Callers()
        self._components = frozenset(certain.components)
        self._identities = [_identity_pattern(each) for each in certain.identities]
        self.claims = {name: frozenset(map(_frozen, values)) for name, values in certain.claims.items()}

    def includes(self, caller: Caller) -> bool:
        """Whether the caller is one of them."""
        if self._kind != "certain":
            return self._kind == "any" or caller.proof is not Proof.NONE
        if (self._components or self._identities) and not self._is_one(caller):
            return False
        return all(_has(caller.claims, name, accepted) for name, accepted in self.claims.items())

    def _is_one(self, caller: Caller) -> bool:
        if caller.component and caller.component in self._components:
            return True
        return bool(caller.identity) and any(each.fullmatch(caller.identity) for each in self._identities)


_Match: TypeAlias = re.Pattern[str]


def _matcher(pattern: str) -> _Match:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _fitting(pattern: str, targets: Iterable[Target]) -> set[Target]:
    """The methods that a pattern means."""
    if "*" in pattern:
        match = _matcher(pattern)
        return {each for each in targets if match.fullmatch(each.method)}
    return {each for each in targets if pattern in {each.component, each.service, each.method}}


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


def _frozen(value: object) -> object:
    """The value as a key. JSON's true is not its 1, which Python would take for the same."""
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, cast("list[object]", value)))
    return (type(value).__name__, value) if isinstance(value, str | int) else None


def _has(claims: Mapping[str, Any], name: str, accepted: frozenset[object]) -> bool:
    """Whether a claim has one of the values. A list has those in it, and a scope its words (RFC 8693, 4.2)."""
    value = claim_of(claims, name)
    if name in {"scope", "scp"} and isinstance(value, str):
        value = value.split()
    values = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
    return any(_frozen(each) in accepted for each in values)
