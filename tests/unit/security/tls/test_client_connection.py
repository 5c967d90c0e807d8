"""Which certificates prove the server that was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.security.tls.client_connection import Wanted

pytestmark = pytest.mark.one_python

LABEL = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
HOST = st.lists(LABEL, min_size=2, max_size=4).map(".".join)


def shown(*names: tuple[str, str]) -> dict[str, Any]:
    """The fields of a certificate with these names."""
    return {"subjectAltName": names}


@given(LABEL, LABEL)
def test_a_spiffe_id_proves_one_component(component: str, asked: str) -> None:
    """By a root of the mesh only, and no host beside it."""
    fields = shown(("URI", f"spiffe://dev.mesh/svc/{component}"))
    assert bool(Wanted(asked).objection(fields, of_mesh=True)) == (component != asked)
    assert not Wanted("").objection(fields, of_mesh=True)
    assert Wanted(component).objection(fields, of_mesh=False)
    assert Wanted(asked, f"{component}.example").objection(fields, of_mesh=False)


@given(HOST, HOST)
def test_a_host_is_proven_by_its_name(host: str, asked: str) -> None:
    """By any root, but only where a host was asked for."""
    fields = shown(("DNS", host.upper()))
    first = host.partition(".")[0]
    assert bool(Wanted("x-component", asked).objection(fields, of_mesh=False)) == (host != asked)
    assert Wanted("x-component").objection(fields, of_mesh=False)
    assert Wanted(first).objection(fields, of_mesh=False)


@given(HOST, LABEL)
def test_a_wildcard_stands_for_one_label(host: str, label: str) -> None:
    """It needs a domain of two labels below it, and stands neither for several labels nor for none."""
    rest = host.partition(".")[2]
    fields = shown(("DNS", f"*.{rest}"))
    assert bool(Wanted("x", f"{label}.{rest}").objection(fields, of_mesh=False)) == ("." not in rest)
    assert Wanted("x", f"{label}.{label}.{rest}").objection(fields, of_mesh=False)
    assert Wanted("x", rest).objection(fields, of_mesh=False)


@pytest.mark.parametrize(
    ("host", "name", "fits"),
    [
        ("10.0.0.1", ("IP Address", "10.0.0.1"), True),
        ("10.0.0.1", ("DNS", "10.0.0.1"), False),
        ("10.0.0.1", ("IP Address", "10.0.0.2"), False),
        ("::1", ("IP Address", "0:0:0:0:0:0:0:1\n"), True),
        ("shop.example.", ("DNS", "shop.example"), True),
        ("shop.example", ("URI", "https://shop.example"), False),
        ("localhost", ("DNS", "localhost"), True),
        ("localhost", ("DNS", "*"), False),
    ],
)
def test_hosts_and_addresses(host: str, name: tuple[str, str], *, fits: bool) -> None:
    """An address is proven as an address only."""
    assert bool(Wanted("x-component", host).objection(shown(name), of_mesh=False)) != fits


@given(st.lists(st.tuples(st.sampled_from(["URI", "DNS", "IP Address", "email"]), st.text(max_size=30)), max_size=5))
def test_any_names_are_judged(names: list[tuple[str, str]]) -> None:
    """None of them raises."""
    assert isinstance(Wanted("orders", "shop.example").objection(shown(*names), of_mesh=True), str)
