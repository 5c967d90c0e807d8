"""Why this process does not go on with a server: it has not proven to be the one that was asked for, or has no TLS."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp


class WrongServerError(ssl.SSLCertVerificationError):
    """The server has a certificate of a trusted root, and it proves another server than the one that was asked for."""

    def __init__(self, text: str) -> None:
        super().__init__(ssl.SSL_ERROR_SSL, text)
        self.text = text

    def __str__(self) -> str:
        return self.text


class ClearTextError(aiohttp.ClientConnectionError):
    """The server would have to be called in clear text, which this process does not do. Nothing was sent."""


class ShownCertificate:
    """A certificate that a server has shown, which may be wrong.

    Args:
        fields: as `SSLObject.getpeercert()` returns them.

    Attributes:
        names: of whom, for people.
        issuer: who has issued it, for people.
        begins: the start of its validity, in seconds since the epoch.
        ends: the end of its validity, likewise.
    """

    def __init__(self, fields: dict[str, Any]) -> None:
        named = ", ".join(text for _, text in fields.get("subjectAltName", ()))
        self.names = named or _title(fields.get("subject", ())) or "nobody"
        self.issuer = _title(fields.get("issuer", ())) or "nobody"
        self.begins = ssl.cert_time_to_seconds(fields["notBefore"])
        self.ends = ssl.cert_time_to_seconds(fields["notAfter"])


def _title(name: Any) -> str:
    """The common name of a subject or an issuer, else all that it has."""
    parts = [(kind, text) for part in name for kind, text in part]
    common = [text for kind, text in parts if kind == "commonName"]
    return ", ".join(common or [text for _, text in parts])
