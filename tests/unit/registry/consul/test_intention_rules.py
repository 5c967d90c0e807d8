"""Intentions as Consul tells of them, and what is made of them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.ports.intentions import ANY, Action, Intention, Intentions
from meshcore.registry.consul.api.connect import IntentionEntry
from meshcore.registry.consul.machines.intention_rules import rules_of

CALLERS = ("web", "api", "")


def entry(source: str = "web", action: str = "allow", **more: object) -> IntentionEntry:
    """An intention for orders, as in an answer of Consul."""
    given = {"SourceName": source, "DestinationName": "orders", "Action": action, "Precedence": 9, **more}
    return msgspec.convert(given, IntentionEntry)


ENTRIES = st.lists(
    st.builds(
        entry,
        st.sampled_from(["web", "api", ANY]),
        st.sampled_from(["allow", "deny", ""]),
        Precedence=st.sampled_from([5, 6, 8, 9]),
        SourceNS=st.sampled_from(["default", "team"]),
        SourcePeer=st.sampled_from(["", "cluster"]),
        Permissions=st.sampled_from([None, [{"Action": "allow"}]]),
    ),
    max_size=8,
)


@given(ENTRIES, st.booleans())
def test_the_highest_precedence_decides(entries, allowed):
    """A call is allowed only by a plain intention that allows, or by the default where no intention is for it."""
    rules, remarks = rules_of("orders", entries, allowed=allowed)
    for caller in CALLERS:
        verdict = rules.judge(caller)
        plain = [
            each
            for each in entries
            if each.source_name in {caller, ANY} and not each.source_peer and each.source_ns == "default"
        ]
        if verdict.action is Action.ALLOW and verdict.name:
            best = max(each.precedence for each in plain)
            assert any(each.precedence == best and each.action == "allow" and not each.permissions for each in plain)
        elif not plain and verdict.action is Action.ALLOW:
            assert allowed
    odd = [
        each
        for each in entries
        if each.permissions or not each.action or each.source_peer or each.source_ns != "default"
    ]
    assert bool(remarks) == bool(odd)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([entry()], {"web": "allow", "api": "default", "": "default"}),
        ([entry(ANY, "deny", Precedence=8), entry()], {"web": "allow", "api": "deny", "": "deny"}),
        ([entry(ANY, "allow", Precedence=5), entry(action="deny", Precedence=6)], {"web": "deny", "api": "allow"}),
        ([entry(action="", Permissions=[{"Action": "allow", "HTTP": {"PathPrefix": "/"}}])], {"web": "deny"}),
        ([entry(JWT={"Providers": [{"Name": "okta"}]})], {"web": "deny"}),
        ([entry(action="audit")], {"web": "deny"}),
        ([entry(SourcePeer="cluster-2")], {"web": "default"}),
        ([entry(action="deny", SourcePeer="cluster-2")], {"web": "deny"}),
        ([entry(SourcePartition="team")], {"web": "default"}),
        ([entry(SourceType="external-trust-domain")], {"web": "default"}),
        ([entry(SourceNS="*", SourcePartition="default")], {"web": "allow"}),
        ([], {"web": "default"}),
    ],
)
def test_who_is_allowed(given, expected):
    """Exact before any; what cannot be judged allows nobody."""
    for allowed in (True, False):
        rules, _ = rules_of("orders", given, allowed=allowed)
        default = "allow" if allowed else "deny"
        for caller, action in expected.items():
            assert rules.judge(caller).action == (default if action == "default" else action), caller


def test_what_is_not_judged_as_it_stands_is_said():
    """The remark names the intention, and what becomes of it."""
    _, (permissions, foreign) = rules_of(
        "orders", [entry(action="", Permissions=[{}]), entry("api", SourceNS="team")], allowed=True
    )
    assert (
        permissions == "the intention web => orders has requirements that are not judged here (L7); it counts as deny"
    )
    assert foreign.startswith("the intention api => orders is for callers of another namespace")
    assert foreign.endswith("left out")


def test_the_default_has_no_name():
    """So that a log can tell it from an intention."""
    assert Intentions("orders", (), Action.DENY).judge("web") == Intention(ANY, Action.DENY)
