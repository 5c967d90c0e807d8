"""Fetches contracts and other documents from servers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import aiohttp

from meshcore.client.connections.no_answer import why_no_answer
from meshcore.client.connections.sessions import request_options
from meshcore.contract.contract import ComponentContract, Contract, decode_contract
from meshcore.core.instances import Instance
from meshcore.core.masking import without_secrets
from meshcore.wire.endpoints import CONTRACT

_TIMEOUT = 5.0
"""Seconds for the whole document."""


_DENIED: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: ": it wants a proven identity (setting identity), over https://",
    HTTPStatus.FORBIDDEN: ": it does not allow that to this process (its setting operators)",
}


class StatusError(aiohttp.ClientResponseError):
    """The server answers with a status that is not one of success."""

    @property
    def denied(self) -> bool:
        """Whether it tells that to others."""
        return self.status in _DENIED

    @property
    def why(self) -> str:
        """What it answers, and what to do about it."""
        return f"it answers {self.status}{_DENIED.get(self.status, '')}"


def contract_url(server: str) -> str:
    """The URL of a server's contract. The URL of a contract is returned as it is."""
    return server.rstrip("/").removesuffix(CONTRACT) + CONTRACT


async def fetch_document(
    session: aiohttp.ClientSession,
    url: str,
    most: int,
    seconds: float | None = _TIMEOUT,
    *,
    component: str = "",
    redirects: bool = False,
) -> bytes:
    """Fetch a document from a server.

    Args:
        session: for the request.
        url: of the document.
        most: bytes of the largest document that is read.
        seconds: for all of it; None if the caller bounds it.
        component: that the server has to prove, if this process has an identity; empty for any.
        redirects: whether the server may name another one. Not for URLs that a registry has: who announces an
            instance could have this process ask any server that it can reach.

    Raises:
        StatusError: the server answers with an error or a redirect.
        aiohttp.ClientError: the server does not answer.
        TimeoutError: the server does not answer in time.
        ValueError: the document is too large.
    """
    timeout = aiohttp.ClientTimeout(total=seconds)
    options = request_options(session, component, url)
    async with session.get(url, timeout=timeout, allow_redirects=redirects, **options) as response:
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise StatusError(response.request_info, response.history, status=response.status)
        data = bytearray()
        async for part in response.content.iter_any():
            data += part
            if len(data) > most:
                raise ValueError(f"it is larger than {most} bytes")
    return bytes(data)


async def fetch_contract(
    session: aiohttp.ClientSession, url: str, max_body: int, *, component: str = "", redirects: bool = True
) -> Contract:
    """Fetch the contract at a URL.

    Args:
        session: for the request.
        url: see `contract_url`.
        max_body: bytes of the largest contract that is read.
        component: see `fetch_document`.
        redirects: see `fetch_document`.

    Raises:
        StatusError: the server answers with an error status.
        aiohttp.ClientError: the server does not answer.
        TimeoutError: the server does not answer in time.
        ValueError: the answer is not a contract, or too large.
    """
    data = await fetch_document(session, url, max_body, component=component, redirects=redirects)
    return decode_contract(data)


async def fetch_component(session: aiohttp.ClientSession, instance: Instance, max_body: int) -> ComponentContract:
    """Fetch the contract of an instance's component from the instance.

    Raises:
        ValueError: it cannot be fetched; the text says why.
    """
    servers = dict.fromkeys(address.url for address in instance.addresses if address.url.startswith("http"))
    reason = "it has no address that could be asked for its contract"
    for url in map(contract_url, servers):
        shown = without_secrets(url)
        try:
            contract = await fetch_contract(session, url, max_body, component=instance.component, redirects=False)
        except StatusError as error:
            reason = f"{shown}: {error.why}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = f"{shown}: {why_no_answer(error)}"
        else:
            for component in contract.components:
                # Another server may have the address by now. Not every registry stores the digest.
                if component.name == instance.component and instance.digest in {"", component.digest}:
                    return component
            reason = f"{shown} is not that of this instance"
    raise ValueError(reason)
