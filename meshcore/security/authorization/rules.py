"""Judges who may call what: rules of operators and what interfaces say, compiled. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from meshcore.core.access import ANYONE, AccessRule
from meshcore.core.caller import Caller, Proof
from meshcore.core.description import ComponentDescription, Method
from meshcore.core.errors import ConfigurationError
from meshcore.security.authorization.rule_callers import RuleCallers, claim_of, claim_values, frozen_claim

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
        meant = _Meant(targets.values())
        self._fitting: list[tuple[RuleCallers, list[frozenset[Target]]]] = []
        self._of_paths: list[tuple[_Match, RuleCallers]] = []
        self._unfit: list[AccessRule] = []
        for rule in self.rules:
            who = RuleCallers(rule)
            paths = [each for each in rule.methods if each.startswith("/")]  # `*` does not open what is for operators
            self._of_paths += [(_matcher(each), who) for each in paths]
            fitting = [meant[each] for each in rule.methods if each not in paths]
            self._fitting.append((who, [targets for targets, _ in fitting]))
            for _, components in fitting:
                self._said |= components
                opened |= components if rule.effect == "allow" else frozenset()
            if not paths and not any("*" in each for each in rule.methods) and not any(each for each, _ in fitting):
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
            claims = caller.claims
            values = [  # nearly all are texts; a call for each would take 0.4 us more
                value if type(value := claims.get(name)) is str else frozen_claim(claim_of(claims, name))
                for name in compiled.claims
            ]
            key: tuple[Any, ...] = (caller.identity, caller.component, caller.proof, *values)
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
        if target is None:  # served, but not known: that must not open it
            target = Target("", "", "", said=bool(self._said))
        if not target.said and target.component not in self._said:
            return _Compiled((), None)
        if target.component:
            fitting = [who for who, meant in self._fitting if any(target in each for each in meant)]
            return _Compiled(fitting, target)
        return _Compiled([who for match, who in self._of_paths if match.fullmatch(target.method)], target)


class _Compiled:
    """The rules that fit one method.

    Attributes:
        claims: the names of the claims that they ask for.
        constant: the verdict on all callers, if it is the same.
        decisions: those that are kept, by what they depend on.
    """

    __slots__ = ("_allow", "_deny", "_target", "claims", "constant", "decisions")

    def __init__(self, fitting: Iterable[RuleCallers], target: Target | None) -> None:
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
        values = {name: claim_values(caller.claims, name) for name in self.claims}
        for who in self._deny:
            if who.includes(caller, values):
                return Verdict(allowed=False, rule=who.name)
        for who in self._allow:
            if who.includes(caller, values):
                return Verdict(allowed=True, rule=who.name)
        declared = target.allowed
        if declared is not None and (declared == (ANYONE,) or (caller.component and caller.component in declared)):
            return Verdict(allowed=True, rule=target.declared)
        anonymous = caller.proof is Proof.NONE and not caller.claims
        helps = anonymous and bool(self._allow or declared)
        return Verdict(allowed=False, rule=target.declared or "no rule allows it", proof_helps=helps, default=True)


_Match: TypeAlias = re.Pattern[str]


def _matcher(pattern: str) -> _Match:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


class _Meant(dict[str, tuple[frozenset[Target], frozenset[str]]]):
    """The methods that a pattern means, and their components. Many rules have the same patterns."""

    def __init__(self, targets: Iterable[Target]) -> None:
        super().__init__()
        self._targets = tuple(targets)

    def __missing__(self, pattern: str) -> tuple[frozenset[Target], frozenset[str]]:
        if "*" in pattern:
            match = _matcher(pattern)
            targets = frozenset(each for each in self._targets if match.fullmatch(each.method))
        else:
            targets = frozenset(
                each for each in self._targets if pattern in {each.component, each.service, each.method}
            )
        found = self[pattern] = targets, frozenset(each.component for each in targets)
        return found
