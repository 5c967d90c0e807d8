"""Reads what a certificate proves: whose it is, by its names."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from meshcore.core.caller import Caller, Proof
from meshcore.core.suggest import shown

_SPIFFE = "spiffe"
_NAME = re.compile(r"[!-~]*")
"""Of ASCII what can be seen. OpenSSL reads any bytes as a name."""


def proven_caller(certificate: dict[str, Any]) -> Caller:
    """Who has the certificate.

    Args:
        certificate: as `SSLObject.getpeercert()` returns it. It was verified.

    Raises:
        ValueError: its names do not say whose it is.
    """
    identity, names = proven_names(certificate.get("subjectAltName", ()))
    return Caller(identity, names[0], Proof.CERTIFICATE)


def proven_names(alternatives: Sequence[tuple[str, str]]) -> tuple[str, tuple[str, ...]]:
    """The identity of a certificate, and the components that it may stand for.

    Args:
        alternatives: kind and text of each of its names, the extension `subjectAltName`.

    Raises:
        ValueError: it has two URI names, one that is no SPIFFE id, neither a URI name nor a DNS name, or a name that is
            no text for names.
    """
    uris = [text for kind, text in alternatives if kind == "URI"]
    if len(uris) > 1:
        raise ValueError(f"it has {len(uris)} URI names, where one is allowed: {', '.join(map(shown, uris[:2]))}")
    hosts = [text for kind, text in alternatives if kind == "DNS"]
    # `urlsplit` drops line ends and tabs, so that another name would be read. And names are written into logs.
    for name in uris or hosts:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a name has characters that no name has: {shown(name)}")
    if uris:
        return uris[0], (_component(uris[0]),)
    if not hosts:
        raise ValueError("it has neither a URI name nor a DNS name")
    components = tuple(dict.fromkeys(host.partition(".")[0] for host in hosts))
    if "" in components:
        raise ValueError(
            f"a DNS name has no first label: {shown(next(each for each in hosts if each.startswith('.') or not each))}"
        )
    return hosts[0], components


@lru_cache(maxsize=1024)
def end_of(not_after: str) -> float:
    """When a certificate ends, in seconds since the epoch. Read again, it would take 0.05 ms of each handshake.

    Args:
        not_after: as `SSLObject.getpeercert()` returns it.
    """
    return ssl.cert_time_to_seconds(not_after)


def _component(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = urlsplit("")
    component = parts.path.rpartition("/")[2]
    if parts.scheme != _SPIFFE or not parts.netloc or not component or parts.query or parts.fragment:
        raise ValueError(f"its URI name is no SPIFFE id: {shown(uri)}")
    return component
