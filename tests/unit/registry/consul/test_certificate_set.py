"""Certificates and roots that are read one by one, in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshcore.registry.consul.machines.certificate_set import CertificateSet, Chosen

NAMES = ("orders", "stock")
# A certificate is who issued it and its number; the roots are who they are.
Leaf = tuple[str, int]
Roots = frozenset[str]
LEAVES = st.tuples(st.just("leaf"), st.sampled_from(NAMES), st.tuples(st.sampled_from("abc"), st.integers(1, 9)))
ROOTS = st.tuples(st.just("roots"), st.frozensets(st.sampled_from("abc"), min_size=1))
STEPS = st.lists(st.one_of(LEAVES, ROOTS), max_size=40)


def made() -> CertificateSet[Leaf, Roots]:
    """A set of two certificates."""
    return CertificateSet(NAMES, lambda leaf, roots: leaf[0] in roots)


@given(STEPS)
def test_roots_count_at_once_and_certificates_when_they_are_issued(steps):
    """What is chosen is whole and newest, but for a certificate without its root; nothing comes twice."""
    machine, read, roots, chosen = made(), {}, None, None
    for step in steps:
        match step:
            case ("leaf", name, leaf):
                machine.read_leaf(name, leaf)
                read.setdefault(name, []).append(leaf)
            case ("roots", found):
                machine.read_roots(found)
                roots = found
        news = machine.news()
        if roots is None or len(read) < len(NAMES):
            assert news is None
            continue
        assert news != chosen or news is None
        chosen = news or chosen
        assert chosen is not None
        assert chosen.roots == roots
        for name, leaf in zip(NAMES, chosen.leaves, strict=True):
            newest = read[name][-1]
            assert leaf in read[name]
            if newest[0] in roots:
                assert leaf == newest
            assert (name in chosen.distrusted) == (leaf[0] not in roots)
        assert machine.news() is None


def test_a_new_certificate_before_its_root():
    """It waits for the root; meanwhile what was stays; a root without a certificate of it counts without waiting."""
    machine = made()
    for name in NAMES:
        machine.read_leaf(name, ("a", 5))
    assert machine.news() is None
    machine.read_roots(frozenset("a"))
    assert machine.news() == Chosen((("a", 5), ("a", 5)), frozenset("a"))
    machine.read_leaf("orders", ("b", 7))
    assert machine.news() is None
    machine.read_roots(frozenset("ab"))
    assert machine.news() == Chosen((("b", 7), ("a", 5)), frozenset("ab"))
    machine.read_roots(frozenset("b"))
    assert machine.news() == Chosen((("b", 7), ("a", 5)), frozenset("b"), ("stock",))
