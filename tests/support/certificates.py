"""Makes self-signed certificates with any name and any dates."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

_CONFIG = """
[ca]
default_ca = one
[one]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = {name}
"""


class Certificate(NamedTuple):
    """A certificate that is its own authority."""

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
    """A certificate in a new folder.

    Args:
        folder: must not exist yet.
        name: the subjectAltName.
        start: when it begins to be valid, as YYMMDDHHMMSSZ.
        end: when it expires.
    """
    folder.mkdir()
    (folder / "config").write_text(_CONFIG.format(name=name))
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    made = Certificate(folder / "server.pem", folder / "server.key")
    _openssl(folder, f"req -newkey rsa:2048 -nodes -subj /CN=server -keyout {made.key.name} -out request")
    _openssl(
        folder,
        f"ca -batch -notext -selfsign -config config -startdate {start} -enddate {end} -keyfile {made.key.name} "
        f"-in request -out {made.certificate.name}",
    )
    return made


def _openssl(folder: Path, command: str) -> None:
    done = subprocess.run(["openssl", *command.split()], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
