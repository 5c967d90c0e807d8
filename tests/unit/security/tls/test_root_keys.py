"""Which certificates are the same root."""

from __future__ import annotations

import ssl

from meshcore.security.tls.root_keys import root_key, root_keys
from tests.support.certificates import Authority

ROOT = Authority.make("root")


def der(authority: Authority) -> bytes:
    """The certificate of an authority."""
    return ssl.PEM_cert_to_DER_cert(authority.roots.decode())


def test_a_root_that_is_issued_again_is_the_same():
    """By its name and key; its dates and its serial number are others."""
    again = ROOT.issued_again()
    assert der(again) != der(ROOT)
    assert root_key(der(again)) == root_key(der(ROOT))


def test_another_key_is_another_root():
    """Though it has the same name."""
    assert root_key(der(Authority.make("root"))) != root_key(der(ROOT))


def test_all_roots_of_a_file():
    """One after the other, with text between them."""
    other = Authority.make("other")
    pem = b"# ours\n" + ROOT.roots + b"# theirs\n" + other.roots
    assert root_keys(pem) == {root_key(der(ROOT)), root_key(der(other))}


def test_a_root_that_cannot_be_read_is_the_same_only_if_nothing_differs():
    """Such as one of the system, by which no server of the mesh was verified."""
    assert root_key(b"no certificate") == b"no certificate"
