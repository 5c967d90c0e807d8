"""What is read from PEM, and what is refused, with its reason."""

from __future__ import annotations

import base64
import time
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore.ports.identity import Credentials, IdentityError
from meshcore.security.credentials import MAX_BYTES, MAX_CHAIN, Source, read_credentials
from tests.support.certificates import DAY, Authority, Leaf, make_certificate

HOUR = 3600
NOW = time.time()  # of the import, which may be minutes before a test: what has expired did so an hour ago


@cache
def root() -> Authority:
    """An authority that all tests here trust."""
    return Authority.make()


@cache
def good() -> Leaf:
    """A certificate by way of an intermediate, as most are."""
    return root().intermediate().leaf("orders")


def read(leaf: Leaf, now: float = NOW) -> Credentials:
    """What is read of it."""
    return read_credentials(Source(leaf.chain, "cert"), Source(leaf.key, "key"), Source(leaf.roots, "roots"), now=now)


def outcome(leaf: Leaf) -> str:
    """The identity, or why it is refused."""
    try:
        return read(leaf).identity
    except IdentityError as error:
        return str(error)


def refusal(leaf: Leaf, now: float = NOW) -> str:
    """Why it is refused."""
    with pytest.raises(IdentityError) as caught:
        read(leaf, now)
    return str(caught.value)


def test_what_a_certificate_proves():
    """Its SPIFFE id, and the component that this names."""
    found = read(good())
    assert (found.identity, found.names) == ("spiffe://dev.mesh/svc/orders", ("orders",))
    assert found.issuer == "CN=test intermediate"
    assert found.begins == pytest.approx(NOW - DAY, abs=HOUR)
    assert found.ends == pytest.approx(NOW + 30 * DAY, abs=HOUR)
    assert found.chain.count(b"BEGIN CERTIFICATE") == 2


def test_a_certificate_without_a_uri_is_for_the_first_labels_of_its_dns_names():
    """As cert-manager issues them for Kubernetes services."""
    found = read(root().leaf(dns=["orders.shop.svc", "orders", "stock.shop.svc"]))
    assert (found.identity, found.names) == ("orders.shop.svc", ("orders", "stock"))


def test_a_certificate_that_is_its_own_root(tmp_path):
    """Who trusts exactly this certificate may use it, as `openssl req -x509` makes it."""
    made = make_certificate(tmp_path / "own", "DNS:orders")
    pem = made.certificate.read_bytes()
    assert read(Leaf(pem, made.key.read_bytes(), pem)).names == ("orders",)


def test_the_order_of_the_chain_does_not_matter_behind_the_first():
    """As for OpenSSL."""
    leaf = root().intermediate("one").intermediate("two").leaf("orders")
    own, two, one = leaf.chain.split(b"-----END CERTIFICATE-----\n")[:3]
    turned = b"".join(each + b"-----END CERTIFICATE-----\n" for each in (own, one, two))
    assert read(leaf._replace(chain=turned)).identity == "spiffe://dev.mesh/svc/orders"


def test_text_around_the_certificates_is_left_out():
    """The program openssl writes what a certificate says above it."""
    commented = b"Certificate:\n    Data: ...\n" + good().chain
    assert read(good()._replace(chain=commented)) == read(good())


def test_roots_of_another_authority_may_stand_beside_the_own():
    """While roots are rotated, both are trusted; one that has expired does no harm."""
    expired = Authority.make("test root", ends=-HOUR)
    assert read(good()._replace(roots=expired.roots + Authority.make().roots + root().roots))


def _two_uris() -> Leaf:
    return root().leaf("orders", uris=["spiffe://dev.mesh/svc/stock"])


def _self_signed() -> Leaf:
    own = Authority.make("orders")
    return own.leaf("orders")._replace(roots=root().roots)


def _not_the_root() -> Leaf:
    """Of a root with the same name, which has another key."""
    return Authority.make().leaf("orders")._replace(roots=root().roots)


def _intermediate_as_root() -> Leaf:
    between = root().intermediate()
    leaf = between.leaf("orders")
    return leaf._replace(roots=leaf.chain.split(b"-----END CERTIFICATE-----\n")[1] + b"-----END CERTIFICATE-----\n")


def _by_a_leaf() -> Leaf:
    """A leaf that issues certificates, which it must not."""
    leaf = root().leaf("orders")
    key = serialization.load_pem_private_key(leaf.key, None)
    issuing = Authority(x509.load_pem_x509_certificate(leaf.chain), key, (), root().roots)
    forged = issuing.leaf("billing")
    return forged._replace(chain=forged.chain + leaf.chain)


def _weak_key() -> Leaf:
    leaf, authority = root().leaf("orders"), root()
    key = rsa.generate_private_key(65537, 1024)
    certificate = x509.load_pem_x509_certificate(leaf.chain)
    builder = x509.CertificateBuilder(
        certificate.issuer,
        certificate.subject,
        key.public_key(),
        certificate.serial_number,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        list(certificate.extensions),
    )
    pem = builder.sign(authority.signer, SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Leaf(pem, private, leaf.roots)


def _with_passphrase() -> Leaf:
    key = serialization.load_pem_private_key(good().key, None)
    return good()._replace(
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


def _long_chain(length: int) -> Leaf:
    authority = root()
    for _ in range(length - 1):
        authority = authority.intermediate()
    return authority.leaf("orders")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (
            lambda: root().leaf("orders", ends=-HOUR),
            "cert: the certificate of spiffe://dev.mesh/svc/orders expired on ",
        ),
        (lambda: root().leaf("orders", begins=3600), "is not valid before "),
        (
            lambda: root().intermediate(ends=-HOUR).leaf("orders"),
            "cert: the intermediate 'CN=test intermediate' expired",
        ),
        (lambda: Authority.make(ends=-HOUR).leaf("orders"), "roots: the root 'CN=test root' expired on "),
        (lambda: Authority.make("another").leaf("a")._replace(roots=root().roots), "has the issuer 'CN=another' of"),
        (_not_the_root, "roots has a root 'CN=test root', but 'CN=orders' was signed with another key"),
        (_self_signed, "cert: 'CN=orders' is self-signed, and is not among the roots in roots"),
        (_intermediate_as_root, "neither this file nor roots has the issuer 'CN=test root' of 'CN=test intermediate'"),
        (_by_a_leaf, "has the issuer 'CN=orders' of 'CN=billing'"),
        (lambda: good()._replace(chain=good().chain.partition(b"-----END")[0]), "cert: it cannot be read; it may be "),
        (lambda: root().intermediate().leaf("a")._replace(key=good().key), "key: the private key is not that of"),
        (_two_uris, "cert: the certificate says of no component that it is for it: it has 2 URI names"),
        (lambda: root().leaf(uris=["https://shop.example/x"]), "its URI name is no SPIFFE id"),
        (lambda: root().leaf(), "neither a URI name nor a DNS name"),
        (_weak_key, "cert: TLS cannot use this certificate: "),
        (_with_passphrase, "key: the private key has a passphrase"),
        (lambda: _long_chain(MAX_CHAIN + 1), f"cert: it has {MAX_CHAIN + 1} certificates, and at most {MAX_CHAIN}"),
        (lambda: good()._replace(chain=b""), "cert: it is empty"),
        (lambda: good()._replace(key=b"\n"), "key: it is empty"),
        (lambda: good()._replace(roots=b" "), "roots: it is empty"),
        (lambda: good()._replace(key=good().chain), "key: it is no private key in PEM"),
        (lambda: good()._replace(chain=good().key), "cert: it has no certificate in PEM"),
        (lambda: good()._replace(chain=b"\0" * (MAX_BYTES + 1)), f"cert: it has more than {MAX_BYTES} bytes"),
        (lambda: good()._replace(key=b"\0" * (MAX_BYTES + 1)), f"key: it has more than {MAX_BYTES} bytes"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(made, reason):
    """One line each: what is wrong, and in which file."""
    text = refusal(made())
    assert reason in text
    assert "\n" not in text


def test_the_longest_chain():
    """So many are read."""
    assert read(_long_chain(MAX_CHAIN)).chain.count(b"BEGIN") == MAX_CHAIN


@pytest.mark.parametrize(("days", "text"), [(-2, "compare the clocks"), (31, "have it renewed")])
def test_the_time_counts(days, text):
    """It is given, so that it can be tested."""
    assert text in refusal(good(), NOW + days * DAY)


def test_a_key_is_in_no_error_and_in_no_repr():
    """Neither of them may tell it."""
    secret = good().key.split(b"\n")[1].decode()
    assert secret not in repr(read(good()))
    for broken in (good().key[:-40], good().key.replace(b"A", b"B"), root().leaf("a").key + good().key):
        assert secret not in refusal(good()._replace(key=broken))


@st.composite
def damaged(draw: st.DrawFn) -> Leaf:
    """A set of which one file was cut, mixed up, or changed in a few places."""
    parts = list(good())
    which = draw(st.integers(0, 2))
    data = parts[which]
    match draw(st.sampled_from(["cut", "change", "insert", "twice", "garbage"])):
        case "cut":
            data = data[: draw(st.integers(0, len(data)))]
        case "change":
            at = draw(st.integers(0, len(data) - 1))
            data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        case "insert":
            at = draw(st.integers(0, len(data)))
            data = data[:at] + draw(st.binary(max_size=40)) + data[at:]
        case "twice":
            data = data[: draw(st.integers(0, len(data)))] + data
        case _:
            data = draw(st.binary(max_size=200))
    parts[which] = data
    return Leaf(*parts)


@settings(max_examples=200, deadline=None)
@given(damaged())
def test_damaged_files_are_read_or_refused_and_nothing_else(leaf):
    """No other exception, whatever is in them; and what is read is what the undamaged ones say."""
    assert outcome(leaf).startswith(("spiffe://dev.mesh/svc/orders", "cert: ", "key: ", "roots: "))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_certificate_is_read_or_refused_and_nothing_else(data):
    """Changes of the encoded certificate itself: PEM hides most of those above behind its own errors."""
    own = x509.load_pem_x509_certificate(good().chain)
    der = bytearray(own.public_bytes(serialization.Encoding.DER))
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    body = base64.encodebytes(bytes(der))
    changed = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
    rest = good().chain.split(b"-----END CERTIFICATE-----\n", 1)[1]
    assert "\n" not in outcome(good()._replace(chain=changed + rest))
