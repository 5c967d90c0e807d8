"""Describes certificates and roots for people and machines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from meshcore.ports.identity import Credentials
from meshcore.security.expiry import ExpiryWarnings, share_left


class ShownCertificate(msgspec.Struct, frozen=True):
    """A certificate of this process.

    Attributes:
        identity: that it proves.
        components: for which it may stand.
        issuer: who issued it.
        begins: the start of its validity, in UTC.
        expires: the end of its validity, in UTC.
        left: the share of its life that is left.
        chain: how many certificates are sent in a handshake.
    """

    identity: str
    components: tuple[str, ...]
    issuer: str
    begins: str
    expires: str
    left: float
    chain: int


class ShownRoot(msgspec.Struct, frozen=True):
    """A root that this process trusts.

    Attributes:
        subject: its name.
        expires: the end of its validity, in UTC.
        fingerprint: SHA-256 of it, in hexadecimal digits.
    """

    subject: str
    expires: str
    fingerprint: str


class Shown(msgspec.Struct, frozen=True):
    """All of them.

    Attributes:
        certificates: of this process, first that with which it calls others.
        roots: that it trusts.
        warnings: what ends soon, and what others will refuse.
    """

    certificates: tuple[ShownCertificate, ...]
    roots: tuple[ShownRoot, ...]
    warnings: tuple[str, ...]


def described(credentials: tuple[Credentials, ...], now: float, warnings: Sequence[str] = ()) -> Shown:
    """Describe credentials that were checked.

    Args:
        credentials: of a process.
        now: in seconds since the epoch.
        warnings: more of them.
    """
    certificates = tuple(
        ShownCertificate(
            identity=each.identity,
            components=each.names,
            issuer=each.issuer,
            begins=_time(dt.datetime.fromtimestamp(each.begins, dt.UTC)),
            expires=_time(dt.datetime.fromtimestamp(each.ends, dt.UTC)),
            left=round(share_left(each, now), 4),
            chain=len(x509.load_pem_x509_certificates(each.chain)),
        )
        for each in credentials
        if each.key
    )
    roots = {root: None for each in credentials for root in x509.load_pem_x509_certificates(each.roots)}
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    old = [
        f"the root {root.subject.rfc4514_string()!r} expired on {_time(root.not_valid_after_utc)}"
        for root in roots
        if root.not_valid_after_utc <= moment
    ]
    shown = tuple(
        ShownRoot(root.subject.rfc4514_string(), _time(root.not_valid_after_utc), root.fingerprint(SHA256()).hex())
        for root in roots
    )
    return Shown(certificates, shown, (*ExpiryWarnings().look(credentials, now), *old, *warnings))


def _time(at: dt.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
