"""Makes the certificates for development: a root, and those of components."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from ipaddress import ip_address, ip_network
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DOMAIN: Final = "dev.meshcore"
"""The trust domain of the certificates."""
LIFETIME: Final = 7 * 86_400.0
"""Seconds for which the certificate of a component is valid."""

AUTHORITY_USAGE: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
"""An authority signs certificates, and nothing else."""

_LIFETIME_OF_ROOT: Final = 3650 * 86_400.0
_EARLIER: Final = 3600.0
"""Seconds by which a certificate begins before it is made, since the clocks of containers differ."""
_NOT_IN_ID: Final = re.compile(r"[^A-Za-z0-9._-]")


def make_root() -> bytes:
    """A new authority, its key and its certificate in PEM.

    It cannot vouch for other trust domains than `dev.meshcore`, nor for other hosts than `localhost`.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC).timestamp()
    # The number tells the roots of a user's machines apart, and those before and after a removal.
    common_name = f"meshcore development {secrets.token_hex(4)}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    names = [
        x509.UniformResourceIdentifier(DOMAIN),
        x509.DNSName("localhost"),
        x509.IPAddress(ip_network("127.0.0.0/8")),
        x509.IPAddress(ip_network("::1/128")),
    ]
    certificate = (
        _builder(key, subject, now, _LIFETIME_OF_ROOT)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(AUTHORITY_USAGE, critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=names, excluded_subtrees=None), critical=True)
        .sign(key, SHA256())
    )
    return key_pem(key) + certificate.public_bytes(Encoding.PEM)


def make_leaf(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    now: float,
) -> x509.Certificate:
    """A certificate of a component, which also is for clients that know nothing of components, such as curl.

    Args:
        name: of the component. What a SPIFFE id cannot have becomes "-".
        key: gets the certificate.
        root: of the authority.
        signer: its key.
        now: in seconds since the epoch.
    """
    name = _NOT_IN_ID.sub("-", name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    names = [
        x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/svc/{name}"),
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.IPAddress(ip_address("::1")),
    ]
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _builder(key, subject, now, LIFETIME)
        .issuer_name(root.subject)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .sign(signer, SHA256())
    )


def _builder(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, now: float, lifetime: float
) -> x509.CertificateBuilder:
    begins, ends = now - _EARLIER, now + lifetime
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(int(begins), dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(int(ends), dt.UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
