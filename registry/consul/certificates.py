"""Reads the certificates that Consul issues."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshcore.ports.identity import Credentials
from meshcore.security.proven import proven_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .api.connect import Leaf

UNREADABLE = (
    *(ValueError, TypeError, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)
"""What certificates and keys raise that cannot be used."""


def credentials_of(leaf: Leaf) -> Credentials:
    """Make credentials, yet without roots.

    Raises:
        UNREADABLE: the certificate, its key or its name is not what Consul issues.
    """
    chain = leaf.cert_pem.strip().encode() + b"\n"
    key = leaf.private_key_pem.strip().encode() + b"\n"
    certificate, *_ = x509.load_pem_x509_certificates(chain)
    if load_pem_private_key(key, None).public_key() != certificate.public_key():
        raise ValueError("its key is that of another certificate")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("it has no name") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or urlsplit(uris[0]).scheme != "spiffe":
        raise ValueError(f"its name must be one SPIFFE id, got {uris}")
    identity, components = proven_names([("URI", uris[0])])
    return Credentials(
        identity=identity,
        names=components,
        issuer=certificate.issuer.rfc4514_string(),
        begins=certificate.not_valid_before_utc.timestamp(),
        ends=certificate.not_valid_after_utc.timestamp(),
        chain=chain,
        key=key,
        roots=b"",
    )


def roots_of(certificates: Iterable[str]) -> bytes:
    """Join the certificates of roots.

    Raises:
        UNREADABLE: one of them is malformed.
    """
    found = "".join(each.strip() + "\n" for each in certificates).encode()
    x509.load_pem_x509_certificates(found)
    return found


@lru_cache(64)
def issued(chain: bytes, roots: bytes) -> bool:
    """Whether one of the roots has issued the certificate, or one of those between."""
    links = x509.load_pem_x509_certificates(chain)
    for root in x509.load_pem_x509_certificates(roots):
        for link in links:
            with suppress(*UNREADABLE, InvalidSignature):
                link.verify_directly_issued_by(root)
                return True
    return False
