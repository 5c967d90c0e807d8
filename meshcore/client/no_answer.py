"""Says why a server did not answer: refused, broken, not HTTP, or which part of TLS failed and what mends it."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import aiohttp

# The codes of OpenSSL (`openssl/x509_vfy.h`).
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_OTHER_NAME: Final = frozenset({62, 63, 64})  # of a host, an e-mail address, an IP address
_UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21, 24, 27})  # no known authority has signed it

_NOT_TLS: Final = frozenset(
    # By the first bytes that came, and by the release of OpenSSL.
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
_TLS_ALERT: Final = re.compile(r"x15\\+x03")
"""How a TLS server answers what is not TLS, as the text of aiohttp's parser has it."""

_AUTHORITIES: Final = "SSL_CERT_FILE, or in the ssl context of a session of your own"


class NotHTTPError(aiohttp.ClientPayloadError):
    """The answer is not HTTP."""


class LostConnectionError(aiohttp.ClientConnectionError):
    """The connection broke after the request was sent. It may have been processed."""


class NeverAnsweredError(aiohttp.ServerDisconnectedError):
    """The connection was closed before the answer, and the server has never answered this client.

    Args:
        over_tls: whether the connection used TLS.
    """

    def __init__(self, *, over_tls: bool) -> None:
        super().__init__()
        self.over_tls = over_tls


_REASONS: Final = (
    (NotHTTPError, "the answer is not HTTP"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
    (aiohttp.ClientPayloadError, "the connection broke in the middle of the answer"),
    (aiohttp.ServerDisconnectedError, "the connection was closed before the answer"),
    (LostConnectionError, "the connection was closed before the answer"),
    (aiohttp.ConnectionTimeoutError, "no connection in time"),
    (TimeoutError, "no answer in time"),
)


def why_no_answer(error: BaseException) -> str:
    """Return why a server did not answer, on one line. Without its address, which the texts of aiohttp repeat."""
    if failure := tls_failure(error):
        return failure
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), "")
    match error:
        case NeverAnsweredError(over_tls=over_tls):
            return (
                f"{reason}; a server that expects {'a certificate of the client' if over_tls else 'https://'} does that"
            )
        case NotHTTPError() | aiohttp.ClientResponseError() if _TLS_ALERT.search(str(error)):
            return "the answer is TLS; the URL of this server seems to begin with https://"
        case aiohttp.ClientConnectorError(os_error=socket.gaierror(strerror=text)):
            return f"the host has no known address: {str(text).lower()}"
        case OSError(errno=int(number)) if number > 0 and not reason:
            return os.strerror(number).lower()
        case _:
            return reason or _text(error) or type(error).__name__


def tls_failure(error: BaseException, authorities: str = _AUTHORITIES) -> str:
    """Return what failed of TLS, and what mends it. Empty if it was something else.

    Args:
        error: of aiohttp, or what caused it.
        authorities: where the authorities are named that the client trusts.
    """
    for cause in _causes(error):
        match cause:
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


def _certificate_failure(error: ssl.SSLCertVerificationError, authorities: str) -> str:
    # The attributes are missing if the error was not made by OpenSSL.
    code = getattr(error, "verify_code", 0)
    reason = str(getattr(error, "verify_message", "") or error.reason or error).rstrip(".")
    if code == _EXPIRED:
        return "the server's certificate has expired: renew it, or one of its authorities"
    if code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet: correct the clock of this machine, or renew it"
    if code in _OTHER_NAME:
        return (
            f"the server's certificate is for another name ({reason}): advertise a URL with a name of its "
            "subjectAltName, or add this one to it"
        )
    if code in _UNTRUSTED:
        return f"the server's certificate is not trusted ({reason}): name the file of its authority in {authorities}"
    return f"the server's certificate is refused: {reason}"


def _protocol_failure(error: ssl.SSLError) -> str:
    reason = str(error.reason or "")
    words = reason.lower().replace("_", " ") or _text(error)
    if reason in _NOT_TLS:
        return "the answer is not TLS; the URL of this server seems to begin with http://"
    if "ALERT" not in reason:
        return f"TLS failed: {words}"
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return f"the server wants a certificate of the client that it trusts ({words})"
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


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())
