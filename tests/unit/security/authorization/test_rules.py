"""Rules: compiled, they decide what they say; many callers take a bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.access import ANYONE, AccessRule, Callers, read_rules
from meshcore.core.caller import ANONYMOUS, THIS_PROCESS, Caller, Proof
from meshcore.core.description import ComponentDescription, Method, ServiceDescription
from meshcore.security.authorization import rules as compiled_rules
from meshcore.security.authorization.rules import Judge, Verdict, targets_of


def method(service: str, name: str, allowed: tuple[str, ...] | None = None) -> Method:
    """A method of a service."""
    return Method(service, name, (), None, is_async=True, allowed=allowed)


def component(
    name: str,
    services: Iterable[tuple[str, tuple[str, ...] | None, tuple[Method, ...]]],
    allowed: tuple[str, ...] | None = None,
) -> ComponentDescription:
    """A component with services."""
    found = [ServiceDescription(object, each, "", methods, allowed=said) for each, said, methods in services]
    return ComponentDescription(object, name, "", tuple(found), allowed=allowed)


def certain(component: str, **claims: Any) -> Caller:
    """A caller with a certificate."""
    return Caller(f"spiffe://mesh/svc/{component}", component, Proof.CERTIFICATE, claims)


def rule(methods: str, callers: Any, effect: str = "allow", name: str = "r") -> AccessRule:
    """One rule."""
    return read_rules([{"name": name, "methods": methods, "callers": callers, "effect": effect}])[0]


PLACE, READ, COUNT = method("orders", "place"), method("orders", "read"), method("stock", "count")
OPEN = (component("shop", [("orders", None, (PLACE, READ))]), component("store", [("stock", None, (COUNT,))]))


def judge(*rules: AccessRule, components: Iterable[ComponentDescription] = OPEN) -> Judge:
    """A judge of rules and declarations."""
    return Judge(rules, targets_of(components))


def test_nothing_said_means_open():
    """Nothing said means open."""
    assert judge().empty
    assert judge().judge(PLACE, ANONYMOUS).allowed


def test_a_rule_closes_its_component_to_all_others_and_leaves_the_other_components_open():
    """A rule closes its component to all others and leaves the other components open."""
    found = judge(rule("orders.place", {"components": "billing"}))
    assert found.judge(PLACE, certain("billing")).allowed
    assert not found.judge(PLACE, certain("stock")).allowed
    assert not found.judge(READ, certain("billing")).allowed
    assert found.judge(COUNT, ANONYMOUS).allowed


def test_what_is_declared_inside_counts_before_what_is_declared_around_it():
    """What is declared inside counts before what is declared around it."""
    inner, middle, outer = method("a", "inner", ("x",)), method("a", "middle"), method("b", "outer")
    free = method("b", "free", (ANYONE,))
    shop = component("shop", [("a", ("y",), (inner, middle)), ("b", None, (outer, free))], ("z",))
    found = judge(components=[shop])
    allowed = {
        (str(each), name)
        for each in (inner, middle, outer, free)
        for name in "xyz"
        if found.judge(each, certain(name)).allowed
    }
    assert allowed == {("a.inner", "x"), ("a.middle", "y"), ("b.outer", "z"), *(("b.free", name) for name in "xyz")}
    assert found.judge(free, ANONYMOUS).allowed


def test_a_rule_that_denies_counts_before_all_that_allow():
    """A rule that denies counts before all that allow."""
    free = method("a", "free", (ANYONE,))
    rules = (rule("a.*", "any"), rule("*", {"components": ["bad"]}, "deny", "quarantine"))
    found = judge(*rules, components=[component("shop", [("a", None, (free,))])])
    assert found.judge(free, certain("good")).allowed
    assert found.judge(free, certain("bad")) == Verdict(allowed=False, rule="rule 'quarantine'")


def test_only_rules_that_deny_close_a_component_and_are_warned_of():
    """Only rules that deny close a component and are warned of."""
    found = judge(rule("orders.*", {"components": "bad"}, "deny"))
    assert not found.judge(PLACE, certain("good")).allowed
    assert found.warnings == ["component 'shop': rules only deny, and nothing allows, so nobody may call it"]


def test_who_has_proven_nothing_is_told_so_only_where_a_proof_may_help():
    """Who has proven nothing is told so only where a proof may help."""
    found = judge(rule("orders.place", {"components": "billing"}), rule("stock.*", "any", "deny", "d"))
    assert found.judge(PLACE, ANONYMOUS).proof_helps
    assert not found.judge(PLACE, certain("other")).proof_helps
    assert not found.judge(READ, ANONYMOUS).proof_helps
    assert not found.judge(COUNT, ANONYMOUS).proof_helps


def test_what_a_caller_says_of_itself_without_a_component_proves_nothing():
    """What a caller says of itself without a component proves nothing."""
    found = judge(rule("orders.*", {"components": ["billing"], "claims": {"role": "x"}}))
    assert not found.judge(PLACE, Caller(claims={"role": "x"})).allowed
    assert found.judge(PLACE, certain("billing", role="x")).allowed


def test_this_process_may_always_call():
    """This process may always call."""
    assert judge(rule("*", "any", "deny")).judge(PLACE, THIS_PROCESS).allowed


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("spiffe://mesh/svc/billing", True),
        ("spiffe://mesh/svc/*", True),
        ("spiffe://mesh/*", False),
        ("spiffe://mesh/**", True),
        ("spiffe://other/**", False),
        ("spiffe://mesh/svc/bill", False),
        ("spiffe://mesh/svc/b.lling", False),
    ],
)
def test_a_star_in_an_identity_stands_for_one_part(pattern, fits):
    """A star in an identity stands for one part."""
    assert judge(rule("*", {"identities": pattern})).judge(PLACE, certain("billing")).allowed is fits


@pytest.mark.parametrize(
    ("accepted", "claims", "fits"),
    [
        ({"role": "admin"}, {"role": "admin"}, True),
        ({"role": ["admin", "clerk"]}, {"role": "clerk"}, True),
        ({"role": "admin"}, {"role": ["clerk", "admin"]}, True),
        ({"role": "admin"}, {"role": "clerk"}, False),
        ({"role": "admin"}, {}, False),
        ({"role": "admin", "level": 1}, {"role": "admin"}, False),
        ({"level": 1}, {"level": True}, False),
        ({"level": True}, {"level": 1}, False),
        ({"scope": "orders:write"}, {"scope": "orders:read orders:write"}, True),
        ({"role": "admin"}, {"role": "admin clerk"}, False),
        ({"realm.roles": "admin"}, {"realm": {"roles": ["admin"]}}, True),
        ({"realm.roles": "admin"}, {"realm": "admin"}, False),
        ({"https://x.example/roles": "admin"}, {"https://x.example/roles": "admin"}, True),
        ({"role": "admin"}, {"role": {"admin": 1}}, False),
    ],
)
def test_claims(accepted, claims, fits):
    """Claims."""
    found = judge(rule("*", {"claims": accepted}))
    assert found.judge(PLACE, Caller(claims=claims)).allowed is fits
    assert found.judge(PLACE, Caller(claims=claims)).allowed is fits  # kept


def test_a_star_does_not_open_the_endpoints_of_operators():
    """A star does not open the endpoints of operators."""
    found = judge(rule("*", "any"), rule("/report*", {"components": "prometheus"}, name="p"))
    assert not found.judge_path("/report", ANONYMOUS).allowed
    assert found.judge_path("/report/summary", certain("prometheus")).allowed
    assert not found.judge_path("/metrics", certain("prometheus")).allowed


def test_many_callers_take_a_bounded_memory(monkeypatch):
    """Many callers take a bounded memory."""
    monkeypatch.setattr(compiled_rules, "MOST_DECISIONS", 100)
    found = judge(rule("*", {"claims": {"sub": "me"}}))
    for number in range(1000):
        assert not found.judge(PLACE, Caller(claims={"sub": str(number)})).allowed
        assert not found.judge(READ, certain(f"c{number}")).allowed
    assert sum(len(each.decisions) for each in found._compiled.values()) <= 100
    assert found.judge(PLACE, Caller(claims={"sub": "me"})).allowed


NAMES = ["orders", "shop", "billing", "bad"]
ALLOWED = st.none() | st.just((ANYONE,)) | st.lists(st.sampled_from(NAMES), min_size=1, max_size=2).map(tuple)
CALLERS = st.builds(
    lambda name, proven, claims: certain(name, **claims) if proven and name else Caller(claims=claims),
    st.sampled_from(["", *NAMES]),
    st.booleans(),
    st.dictionaries(st.sampled_from(["role", "level"]), st.sampled_from(["a", "b", 1, True, ["a", "c"]]), max_size=2),
)
CERTAIN = st.builds(
    Callers,
    st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
    st.lists(st.sampled_from(["spiffe://mesh/svc/bad", "spiffe://mesh/svc/*", "spiffe://x/**"]), max_size=1).map(tuple),
    st.dictionaries(
        st.sampled_from(["role", "level"]), st.lists(st.sampled_from(["a", 1, True]), min_size=1).map(tuple), max_size=2
    ),
).filter(lambda each: bool(each.components or each.identities or each.claims))
RULES = st.lists(
    st.builds(
        AccessRule,
        st.uuids().map(str),
        st.lists(
            st.sampled_from(["*", "orders", "shop", "orders.place", "orders.*", "*.count", "st*", "none.*"]),
            min_size=1,
            max_size=2,
        ).map(tuple),
        st.sampled_from(["any", "proven"]) | CERTAIN,
        st.sampled_from(["allow", "deny"]),
    ),
    max_size=5,
)


def naive(rules: list[AccessRule], components: list[ComponentDescription], called: Method, caller: Caller) -> bool:
    """What the documentation says, step by step."""

    def means(each: AccessRule, owner: ComponentDescription, one: Method) -> bool:
        return any(pattern in {owner.name, one.service} or fnmatchcase(str(one), pattern) for pattern in each.methods)

    def has(name: str, accepted: tuple[Any, ...]) -> bool:
        value = caller.claims.get(name)
        values = value if isinstance(value, list) else [value]
        return any(type(one) is type(other) and one == other for one in values for other in accepted)

    def includes(each: AccessRule) -> bool:
        who = each.callers
        if not isinstance(who, Callers):
            return who == "any" or caller.proof is Proof.CERTIFICATE
        process = (not who.components and not who.identities) or (
            caller.proof is Proof.CERTIFICATE
            and (
                caller.component in who.components
                or any(fnmatchcase(caller.identity, pattern) for pattern in who.identities)
            )
        )
        return process and all(has(*claim) for claim in who.claims.items())

    (owner,) = (each for each in components if any(called in service.methods for service in each.services))
    (service,) = (each for each in owner.services if called in each.methods)
    fitting = [each for each in rules if means(each, owner, called)]
    if any(includes(each) for each in fitting if each.effect == "deny"):
        return False
    if any(includes(each) for each in fitting if each.effect == "allow"):
        return True
    declared = next((each for each in (called.allowed, service.allowed, owner.allowed) if each is not None), None)
    if declared is not None and (ANYONE in declared or caller.component in declared):
        return True
    methods = [one for each in owner.services for one in each.methods]
    said = any(each is not None for each in (owner.allowed, *(s.allowed for s in owner.services)))
    said = said or any(one.allowed is not None for one in methods)
    return not (said or any(means(each, owner, one) for each in rules for one in methods))


@given(RULES, st.lists(ALLOWED, min_size=6, max_size=6), st.lists(CALLERS, min_size=1, max_size=8))
def test_compiled_rules_decide_as_they_read(rules, allowed, callers):
    """Compiled rules decide as they read."""
    one, two, three = (
        method(*name, said)
        for name, said in zip([("orders", "place"), ("orders", "read"), ("stock", "count")], allowed, strict=False)
    )
    components = [
        component("shop", [("orders", allowed[3], (one, two))], allowed[4]),
        component("store", [("stock", None, (three,))], allowed[5]),
    ]
    found = judge(*rules, components=components)
    for caller in (*callers, *callers):
        for called in (one, two, three):
            assert found.judge(called, caller).allowed is naive(rules, components, called, caller)
