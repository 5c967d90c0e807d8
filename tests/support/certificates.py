"""A small certificate authority: makes roots, intermediates and leaves with any names and any dates."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshcore.ports.identity import Credentials
from meshcore.security.sources.dev_certificates import AUTHORITY_USAGE

DAY = 86_400.0
DOMAIN = "dev.mesh"

_DATES = "%y%m%d%H%M%SZ"


class Leaf(NamedTuple):
    """A certificate with its key, and what is between it and the root: all in PEM.

    Attributes:
        chain: the certificate, then the intermediates.
        key: its private key.
        roots: that of its authority.
    """

    chain: bytes
    key: bytes
    roots: bytes

    def write(self, folder: Path, names: Sequence[str] = ("tls.crt", "tls.key", "ca.crt")) -> Path:
        """Write the three files, each replaced atomically, and return the folder. It is made if there is none."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in zip(names, self, strict=True):
            new = folder / f".{name}.new"
            new.write_bytes(content)
            new.chmod(0o600)
            new.replace(folder / name)
        return folder

    def write_as_kubernetes(self, folder: Path, version: str) -> Path:
        """Write the three files as Kubernetes mounts a secret: by links through `..data`, which it replaces at once."""
        self.write(folder / f"..{version}")
        link = folder / "..data_tmp"
        link.symlink_to(f"..{version}")
        link.replace(folder / "..data")
        for name in ("tls.crt", "tls.key", "ca.crt"):
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(f"..data/{name}")
        return folder

    def load(self, context: ssl.SSLContext, folder: Path) -> ssl.SSLContext:
        """Give certificate, key and roots to a context, by way of files in the folder."""
        self.write(folder)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        context.load_verify_locations(cadata=self.roots.decode())
        return context


@dataclass(frozen=True)
class Authority:
    """Issues certificates.

    Attributes:
        certificate: of the authority.
        signer: its private key.
        above: the certificates between it and the root, nearest first; its own is the first, unless it is a root.
        roots: the root, in PEM.
    """

    certificate: x509.Certificate
    signer: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...]
    roots: bytes

    @classmethod
    def make(cls, name: str = "test root", *, begins: float = -DAY, ends: float = 3650 * DAY) -> Self:
        """A new root, valid from and to so many seconds from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), key, begins, ends).issuer_name(_named(name))
        made = _as_authority(builder).sign(key, hashes.SHA256())
        return cls(made, key, (), made.public_bytes(Encoding.PEM))

    def issued_again(self) -> Self:
        """The same root with other dates: a new certificate with the same name and key."""
        name = self.certificate.subject
        builder = _builder(name, self.signer, -2 * DAY, 7300 * DAY).issuer_name(name)
        made = _as_authority(builder).sign(self.signer, hashes.SHA256())
        return type(self)(made, self.signer, (), made.public_bytes(Encoding.PEM))

    def intermediate(self, name: str = "test intermediate", *, begins: float = -DAY, ends: float = 365 * DAY) -> Self:
        """A new authority whose certificate this one issues."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _as_authority(self._issued(_named(name), key, begins, ends)).sign(self.signer, hashes.SHA256())
        return type(self)(made, key, (made, *self.above), self.roots)

    def leaf(
        self,
        component: str = "",
        *,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        addresses: Sequence[str] = (),
        others: Sequence[x509.GeneralName] = (),
        begins: float = -DAY,
        ends: float = 30 * DAY,
    ) -> Leaf:
        """A certificate with a new key.

        Args:
            component: gives the URI name `spiffe://dev.mesh/svc/COMPONENT`; empty for none.
            uris: more URI names.
            dns: DNS names.
            addresses: IP addresses.
            others: names of other kinds.
            begins: seconds from now at which it begins to be valid.
            ends: seconds from now at which it expires.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        uris = [f"spiffe://{DOMAIN}/svc/{component}", *uris] if component else uris
        names: list[x509.GeneralName] = [
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.DNSName, dns),
            *(x509.IPAddress(ipaddress.ip_address(each)) for each in addresses),
            *others,
        ]
        builder = self._issued(_named(component or "leaf"), key, begins, ends)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        made = builder.sign(self.signer, hashes.SHA256())
        chain = b"".join(each.public_bytes(Encoding.PEM) for each in (made, *self.above))
        return Leaf(chain, key_pem(key), self.roots)

    def _issued(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, begins: float, ends: float
    ) -> x509.CertificateBuilder:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.signer.public_key())
        builder = _builder(subject, key, begins, ends).issuer_name(self.certificate.subject)
        return builder.add_extension(issuer, critical=False)

    def credentials(self, component: str, *, begins: float = -DAY, ends: float = 30 * DAY) -> Credentials:
        """A new certificate for a component, as identity sources give it."""
        leaf = self.leaf(component, begins=begins, ends=ends)
        made = x509.load_pem_x509_certificate(leaf.chain)
        return Credentials(
            identity=f"spiffe://{DOMAIN}/svc/{component}",
            names=(component,),
            issuer=self.certificate.subject.rfc4514_string(),
            begins=made.not_valid_before_utc.timestamp(),
            ends=made.not_valid_after_utc.timestamp(),
            chain=leaf.chain,
            key=leaf.key,
            roots=leaf.roots,
        )


class Certificate(NamedTuple):
    """Files of a certificate that is its own authority."""

    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """For a server that has it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts it."""
        return ssl.create_default_context(cafile=self.certificate)


def make_certificate(
    folder: Path, name: str = "IP:127.0.0.1", *, start: str = "200101000000Z", end: str = "491231000000Z"
) -> Certificate:
    """A self-signed certificate in a new folder.

    Args:
        folder: must not exist yet.
        name: the subjectAltName.
        start: when it begins to be valid, as YYMMDDHHMMSSZ.
        end: when it expires.
    """
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    kind, _, text = name.partition(":")
    alternative = x509.DNSName(text) if kind == "DNS" else x509.IPAddress(ipaddress.ip_address(text))
    now = dt.datetime.now(dt.UTC).timestamp()
    dates = [dt.datetime.strptime(each, _DATES).replace(tzinfo=dt.UTC).timestamp() for each in (start, end)]
    builder = _builder(_named("server"), key, dates[0] - now, dates[1] - now).issuer_name(_named("server"))
    builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    made = Certificate(folder / "server.pem", folder / "server.key")
    made.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    made.key.write_bytes(key_pem(key))
    os.chmod(made.key, 0o600)  # noqa: PTH101
    return made


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key in PEM, without a passphrase."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, begins: float, ends: float
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(seconds=begins))
        .not_valid_after(now + dt.timedelta(seconds=ends))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _as_authority(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.add_extension(AUTHORITY_USAGE, critical=True)
