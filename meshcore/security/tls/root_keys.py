"""What makes two certificates the same root: name and key. A root may be issued again, with other dates."""

from __future__ import annotations

import base64
import re
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")


def root_key(root: bytes) -> bytes:
    """The name and the key of a root. It is all of it if they cannot be read, as of some roots of the system.

    Args:
        root: in DER.
    """
    try:
        certificate = x509.load_der_x509_certificate(root)
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return certificate.subject.public_bytes() + key
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return root


def root_keys(pem: bytes) -> frozenset[bytes]:
    """The names and keys of roots in PEM."""
    return frozenset(root_key(base64.b64decode(found)) for found in _PEM.findall(pem))
