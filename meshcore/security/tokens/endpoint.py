"""Asks a token endpoint or a JWKS endpoint: over https, bounded in time and size, without redirects."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping

import aiohttp
import msgspec
from yarl import URL

SECONDS = 10.0
"""The time for one request."""

_OK = 200
_TOO_MANY, _ERRORS_OF_SERVER = 429, 500


class EndpointError(Exception):
    """An endpoint gave nothing that can be used. The text has neither tokens nor secrets.

    Attributes:
        transient: whether it may succeed later.
    """

    def __init__(self, text: str, *, transient: bool) -> None:
        super().__init__(text)
        self.transient = transient


class Answer(msgspec.Struct, frozen=True):
    """What an endpoint answered.

    Attributes:
        status: of HTTP.
        body: the bytes.
        cache_control: the header of that name, empty if there is none.
    """

    status: int
    body: bytes
    cache_control: str


def check_endpoint(url: str, what: str) -> URL:
    """The URL of an endpoint, checked.

    Args:
        url: as it was configured.
        what: how it is called in the error.

    Raises:
        ValueError: it is no https URL, nor an http URL of this machine; or a user or password is in it.
    """
    try:
        found = URL(url)
        host = found.host
    except ValueError:
        raise ValueError(f"{what} is not a URL") from None
    if not host or found.scheme not in {"https", "http"}:
        raise ValueError(f'{what} must be a URL such as "https://login.example/path"')
    if found.user is not None or found.password is not None:
        raise ValueError(f"{what} must not have a user or a password in it")
    if found.scheme == "http" and not _is_loopback(host):
        raise ValueError(
            f"{what} must be https, since its host {host} is not this machine: http can be read and changed"
        )
    return found


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def ask(
    url: URL,
    *,
    limit: int,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request: POST with a form, else GET.

    Args:
        url: of the endpoint.
        limit: bytes of the largest answer.
        form: is sent as the body.
        headers: go with it.
        tls: trusts other roots than those of this machine.

    Raises:
        EndpointError: it cannot be reached in time, or its answer is too large.
    """
    told = url.with_query(None)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session,
            session.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers={"accept": "application/json", **(headers or {})},
                # A redirect would send the secret elsewhere.
                allow_redirects=False,
                ssl=True if tls is None else tls,
            ) as response,
        ):
            body = bytearray()
            async for chunk in response.content.iter_chunked(2**16):
                body += chunk
                if len(body) > limit:
                    raise EndpointError(f"the answer of {told} is larger than {limit} bytes", transient=False)
            return Answer(response.status, bytes(body), response.headers.get("cache-control", ""))
    except TimeoutError:
        raise EndpointError(f"{told} did not answer within {SECONDS:.0f} s", transient=True) from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise EndpointError(f"{told} shows a certificate that is not trusted: {error}", transient=True) from None
    except (aiohttp.ClientError, OSError) as error:
        # Only the class: a text of aiohttp may have the headers, and so the secret, in it.
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise EndpointError(f"{told} cannot be reached: {reason}", transient=True) from None
    except asyncio.IncompleteReadError:
        raise EndpointError(f"the answer of {told} is not complete", transient=True) from None


def refused(told: URL, answer: Answer, code: str = "") -> EndpointError | None:
    """The error of an answer that is none; None if it is one.

    Args:
        told: the URL for the text.
        answer: to look at.
        code: what the endpoint says is wrong, in a word.
    """
    if answer.status == _OK:
        return None
    more = f" ({code})" if code else ""
    transient = answer.status >= _ERRORS_OF_SERVER or answer.status == _TOO_MANY
    return EndpointError(f"{told.with_query(None)} answered with status {answer.status}{more}", transient=transient)
