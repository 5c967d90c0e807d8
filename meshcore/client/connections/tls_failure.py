"""Says which part of TLS has failed, and what mends it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Final

import aiohttp

from meshcore.security.tls.client_errors import ShownCertificate, WrongServerError

# The codes of OpenSSL (`openssl/x509_vfy.h`).
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_OTHER_NAME: Final = frozenset({62, 63, 64})  # of a host, an e-mail address, an IP address
_UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21, 24, 27})  # no known authority has signed it

_NOT_TLS: Final = frozenset(
    # By the first bytes that came, and by the release of OpenSSL.
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)

_AUTHORITIES: Final = (
    "the setting identity (files:/path?roots=... if this process serves nothing), in SSL_CERT_FILE, or in the ssl "
    "context of a session of your own"
)
_CHOOSE: Final = "choose one with the setting identity"
_ROOTS: Final = "the roots of the setting identity"


def tls_failure(error: BaseException, authorities: str = _AUTHORITIES) -> str:
    """Return what failed of TLS, and what mends it. Empty if it was something else.

    Args:
        error: of aiohttp, or what caused it.
        authorities: where the authorities are named that the client trusts, if it has no identity.
    """
    for cause in _causes(error):
        match cause:
            case WrongServerError():
                return (
                    f"{cause}: let its certificate name that component (its SPIFFE id, or a DNS name), or correct the "
                    "address"
                )
            case ssl.SSLCertVerificationError():
                return _certificate_failure(cause, authorities)
            case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
                return "the server closed the connection during TLS"
            case ssl.SSLError():
                return _protocol_failure(cause)
            case _:
                pass
    match error:
        # A connection that is reset before it is there was refused, or is in the handshake. asyncio gives no number.
        case aiohttp.ClientConnectorError(os_error=ConnectionResetError()):
            return (
                "the server closed the connection during the TLS handshake; it may want another version of TLS, or a "
                "certificate of the client"
            )
        case _:
            return ""


def is_refused_in_handshake(error: BaseException) -> bool:
    """Whether the server has refused this client in the handshake, so that it has read nothing that was sent.

    With TLS 1.3 that shows after the client's part of the handshake, when a request may be on its way. A server sends
    alerts about certificates in the handshake only.
    """
    return any(isinstance(cause, ssl.SSLError) and _is_of_certificate(str(cause.reason)) for cause in _causes(error))


def _is_of_certificate(reason: str) -> bool:
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _certificate_failure(error: ssl.SSLCertVerificationError, authorities: str) -> str:
    # The attributes are missing if the error was not made by OpenSSL.
    code = getattr(error, "verify_code", 0)
    reason = str(getattr(error, "verify_message", "") or error.reason or error).rstrip(".")
    shown: ShownCertificate | None = getattr(error, "shown", None)  # with an identity
    subject = "the server's certificate" if shown is None else f"the server's certificate, of {shown.names},"
    if code == _EXPIRED:
        if shown is not None and shown.ends <= time.time():
            return f"{subject} has expired on {_date(shown.ends)}: renew it"
        return f"{subject} has expired: renew it, or one of its authorities"
    if code == _NOT_YET_VALID:
        until = f" before {_date(shown.begins)}" if shown is not None and shown.begins > time.time() else " yet"
        return f"{subject} is not valid{until}: correct the clock of this machine, or renew it"
    if code in _OTHER_NAME:
        return (
            f"the server's certificate is for another name ({reason}): advertise a URL with a name of its "
            "subjectAltName, or add this one to it"
        )
    if code in _UNTRUSTED:
        issuer = "" if shown is None else f", issued by {shown.issuer}"
        where = authorities if shown is None else _ROOTS
        return f"{subject} is not trusted ({reason}{issuer}): name the file of its authority in {where}"
    return f"{subject} is refused: {reason}"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _protocol_failure(error: ssl.SSLError) -> str:
    reason = str(error.reason or "")
    words = reason.lower().replace("_", " ") or " ".join(str(error).split())
    if reason in _NOT_TLS:
        return "the answer is not TLS; the URL of this server seems to begin with http://"
    if "ALERT" not in reason:
        return f"TLS failed: {words}"
    if "CERTIFICATE_REQUIRED" in reason:
        return f"the server wants a certificate of the client: {_CHOOSE}"
    if _is_of_certificate(reason):
        return (
            f"the server refuses this client's certificate ({words}), or wants one: it has to trust the authority that "
            "issued it, and the certificate must not have expired"
        )
    return (
        f"the server refuses TLS with this client ({words}); it may want another version of TLS, or a certificate of "
        "the client"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what caused it. Some errors of aiohttp are errors of `ssl` by class, but lack the reason."""
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, aiohttp.ClientError):
            yield cause
        inner = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else None
        cause = cause.__cause__ or inner
