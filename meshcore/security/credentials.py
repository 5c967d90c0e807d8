"""Reads certificates, key and roots from PEM, and checks that they can be used."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshcore.ports.identity import Credentials, IdentityError
from meshcore.security.proven import proven_names
from meshcore.security.tls.load_credentials import load_credentials

MAX_CHAIN: Final = 10
"""Certificates between the own one and a root, with it. Each of them is sent in every handshake."""
MAX_ROOTS: Final = 500
MAX_BYTES: Final = 1024 * 1024
"""Bytes of one file."""

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
# Where warnings are errors, what the library warns of cannot be read either.
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, CryptographyDeprecationWarning)
_USAGES: Final = {ExtendedKeyUsageOID.SERVER_AUTH: "server auth", ExtendedKeyUsageOID.CLIENT_AUTH: "client auth"}


class Source(msgspec.Struct, frozen=True):
    """Data in PEM, and where it came from.

    Attributes:
        data: in PEM.
        place: the file, or whatever else names it in an error.
    """

    data: bytes
    place: str


def read_credentials(chain: Source, key: Source, roots: Source, *, now: float) -> Credentials:
    """Read a certificate with its key and roots, and check that other processes will accept it.

    Args:
        chain: the certificate, then those between it and a root.
        key: its private key.
        roots: the certificates of the roots that are trusted.
        now: in seconds since the epoch.

    Raises:
        IdentityError: they cannot be used; with the first reason.
    """
    own, *between = _certificates(chain, MAX_CHAIN)
    trusted = _certificates(roots, MAX_ROOTS)
    identity, names = _names(own, chain.place)
    _check_usage(own, chain.place)
    _check_dates(own, chain.place, f"the certificate of {identity}", now)
    _check_key(own, key, chain.place)
    _check_path(own, between, trusted, (chain.place, roots.place), now)
    made = Credentials(
        identity=identity,
        names=names,
        issuer=own.issuer.rfc4514_string(),
        begins=own.not_valid_before_utc.timestamp(),
        ends=own.not_valid_after_utc.timestamp(),
        chain=_pem((own, *between)),
        key=key.data,
        roots=_pem(trusted),
    )
    try:
        # What OpenSSL refuses besides, such as short keys, has to be known before the last good ones are replaced.
        load_credentials(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), made)
    except ssl.SSLError as error:
        _refuse(chain.place, f"TLS cannot use this certificate: {error.reason or error}")
    return made


def read_roots(roots: Source, *, now: float) -> Credentials:
    """Read roots alone, and check that one of them can be used.

    Args:
        roots: the certificates of the roots that are trusted.
        now: in seconds since the epoch.

    Raises:
        IdentityError: they cannot be used.
    """
    trusted = _certificates(roots, MAX_ROOTS)
    anchors = [each for each in trusted if each.issuer == each.subject]
    if not anchors:
        _refuse(roots.place, f"{_subject(trusted[0])} is no root: its issuer is {trusted[0].issuer.rfc4514_string()!r}")
    anchors.sort(key=lambda each: _ended(each, now))
    if all(_ended(each, now) or now < each.not_valid_before_utc.timestamp() for each in anchors):
        _check_dates(anchors[0], roots.place, f"the root {_subject(anchors[0])}", now)
    return Credentials.trusting_only(_pem(trusted))


def alternatives_of(certificate: x509.Certificate) -> list[tuple[str, str]]:
    """The URI names and DNS names of a certificate, as `SSLObject.getpeercert()` has them.

    Raises:
        ValueError: they cannot be read.
    """
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType, *_UNREADABLE) as error:
        raise ValueError(f"its names cannot be read: {error}") from None
    return [
        *(("URI", text) for text in found.get_values_for_type(x509.UniformResourceIdentifier)),
        *(("DNS", text) for text in found.get_values_for_type(x509.DNSName)),
    ]


def day_of(at: float) -> str:
    """A time for people, in UTC."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _refuse(place: str, text: str) -> NoReturn:
    raise IdentityError(f"{place}: {' '.join(text.split())}") from None


def _certificates(source: Source, most: int) -> list[x509.Certificate]:
    data, place = source.data, source.place
    if len(data) > MAX_BYTES:
        _refuse(place, f"it has more than {MAX_BYTES} bytes")
    if not data.strip():
        _refuse(place, "it is empty; it has to hold certificates in PEM")
    count = data.count(_BEGIN)
    if not count:
        _refuse(place, "it has no certificate in PEM (-----BEGIN CERTIFICATE-----)")
    if count > most:
        _refuse(place, f"it has {count} certificates, and at most {most} are read")
    try:
        found = x509.load_pem_x509_certificates(data)
    except _UNREADABLE as error:
        _refuse(place, f"it cannot be read; it may be truncated: {error}")
    if len(found) != count:
        _refuse(place, f"{count - len(found)} of its {count} certificates cannot be read; it may be truncated")
    try:
        for each in found:  # the library reads them late
            _ = each.subject, each.issuer, each.version, each.not_valid_before_utc, each.not_valid_after_utc
    except _UNREADABLE as error:
        _refuse(place, f"it has a certificate that cannot be read: {error}")
    return found


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def _names(own: x509.Certificate, place: str) -> tuple[str, tuple[str, ...]]:
    try:
        identity, names = proven_names(alternatives_of(own))
    except ValueError as error:
        _refuse(place, f"the certificate says of no component that it is for it: {error}")
    if not identity.isprintable() or not all(names):
        _refuse(place, f"the certificate has a name that cannot be used: {identity!r}")
    return identity, names


def _check_usage(own: x509.Certificate, place: str) -> None:
    try:
        usage = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return  # then it may be used for anything
    except (x509.DuplicateExtension, *_UNREADABLE) as error:
        _refuse(place, f"the certificate's extended key usage cannot be read: {error}")
    if missing := [text for kind, text in _USAGES.items() if kind not in usage]:
        needed = f"{' and '.join(missing)} among its extended key usages"
        _refuse(place, f"the certificate does not have {needed}; a process both calls and is called")


def _check_dates(certificate: x509.Certificate, place: str, what: str, now: float) -> None:
    begins, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    if now >= ends:
        _refuse(place, f"{what} expired on {day_of(ends)}; have it renewed")
    if now < begins:
        _refuse(place, f"{what} is not valid before {day_of(begins)}, and now is {day_of(now)}; compare the clocks")


def _check_key(own: x509.Certificate, source: Source, place: str) -> None:
    if len(source.data) > MAX_BYTES:
        _refuse(source.place, f"it has more than {MAX_BYTES} bytes")
    if not source.data.strip():
        _refuse(source.place, "it is empty; it has to hold a private key in PEM")
    try:
        key = load_pem_private_key(source.data, None)
    except TypeError:
        _refuse(source.place, "the private key has a passphrase; write it without one")
    except _UNREADABLE:  # the text of the error says nothing, and should not tell of a key
        _refuse(source.place, "it is no private key in PEM, or it is truncated")
    try:
        public = own.public_key()
    except _UNREADABLE as error:
        _refuse(place, f"the certificate's public key cannot be read: {error}")
    ours, certified = (
        each.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for each in (key.public_key(), public)
    )
    if ours != certified:
        _refuse(source.place, f"the private key is not that of the certificate in {place}; only one of them is new")


def _check_path(
    own: x509.Certificate,
    between: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    places: tuple[str, str],
    now: float,
) -> None:
    """Check that certificates lead from the own one to a root."""
    place, roots_place = places
    anchors = [each for each in roots if each.issuer == each.subject]
    # As OpenSSL does: a certificate that is trusted, but not a root, does not end a path.
    current, left = own, [*between, *(each for each in roots if each.issuer != each.subject)]
    expired: x509.Certificate | None = None
    while True:
        for root in anchors:
            if root == current or _issued(root, current):
                if _ended(root, now):
                    expired = root
                    continue
                _check_dates(root, roots_place, f"the root {_subject(root)}", now)
                return
        issuer = next((each for each in left if _issued(each, current)), None)
        if issuer is None:
            break
        _check_dates(issuer, place if issuer in between else roots_place, f"the intermediate {_subject(issuer)}", now)
        left.remove(issuer)
        current = issuer
    if expired is not None:
        _check_dates(expired, roots_place, f"the root {_subject(expired)}", now)
    name = current.issuer.rfc4514_string()
    if current.issuer == current.subject:
        _refuse(place, f"{_subject(current)} is self-signed, and is not among the roots in {roots_place}")
    if any(root.subject == current.issuer for root in anchors):
        _refuse(place, f"{roots_place} has a root {name!r}, but {_subject(current)} was signed with another key")
    _refuse(place, f"neither this file nor {roots_place} has the issuer {name!r} of {_subject(current)}")


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return issuer.version is x509.Version.v1  # roots of old do not say that they are authorities
    except (InvalidSignature, x509.DuplicateExtension, *_UNREADABLE):
        return False
    return constraints.ca


def _ended(certificate: x509.Certificate, now: float) -> bool:
    return now >= certificate.not_valid_after_utc.timestamp()


def _subject(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string())
