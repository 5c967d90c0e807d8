"""What the names of a certificate prove."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.security.proven import proven_names


@pytest.mark.parametrize(
    ("names", "components"),
    [
        ([("URI", "spiffe://example.org/svc/orders")], ("orders",)),
        ([("URI", "spiffe://example.org/svc/orders"), ("DNS", "billing.shop")], ("orders",)),
        ([("DNS", "orders.shop.svc"), ("DNS", "stock.shop.svc"), ("DNS", "orders")], ("orders", "stock")),
        ([("DirName", ((("commonName", "billing"),),)), ("DNS", "orders")], ("orders",)),
    ],
)
def test_whom_a_certificate_stands_for(names, components):
    """The last part of the one URI name, else the first labels of the DNS names."""
    assert proven_names(names)[1] == components


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (("URI", "spiffe://example.org/svc/ord\ters"), "has characters that no name has"),
        (("URI", "spiffe://example.org/svc/orders\nWARNING:root:all is well"), "has characters that no name has"),
        (("URI", " spiffe://example.org/svc/orders"), "has characters that no name has"),
        (("URI", "spiffe://example.org/svc/orders\0"), "has characters that no name has"),
        (("URI", "spiffe://example.org/svc/ord\u0435rs"), "has characters that no name has"),
        (("URI", "spiffe://example.org/svc/"), "no SPIFFE id"),
        (("URI", "https://example.org/svc/orders"), "no SPIFFE id"),
        (("URI", "spiffe:///svc/orders"), "no SPIFFE id"),
        (("URI", "spiffe://example.org/svc/orders?x"), "no SPIFFE id"),
        (("DNS", "orders\n.shop"), "has characters that no name has"),
        (("DNS", ".shop"), "has no first label"),
        (("DNS", ""), "has no first label"),
        (("IP Address", "127.0.0.1"), "neither a URI name nor a DNS name"),
    ],
)
def test_names_that_prove_nothing(name, reason):
    """They are refused, and what is written of them into logs has one line."""
    with pytest.raises(ValueError, match=reason) as caught:
        proven_names([name])
    assert str(caught.value).isprintable()


@given(st.lists(st.tuples(st.sampled_from(["URI", "DNS", "email"]), st.text(max_size=300)), max_size=4))
def test_no_name_can_write_lines_into_logs(names):
    """Whatever stands in a certificate."""
    try:
        identity, components = proven_names(names)
    except ValueError as error:
        told = str(error)
    else:
        told = identity
        assert all(components)
    assert len(told.splitlines()) == 1
    assert len(told) < 1000
