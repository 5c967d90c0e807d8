"""Fetches contracts from servers."""

from __future__ import annotations

import aiohttp

from meshcore.client.no_answer import why_no_answer
from meshcore.contract.contract import ComponentContract, Contract, decode_contract
from meshcore.core.instances import Instance
from meshcore.core.masking import without_secrets
from meshcore.wire.endpoints import CONTRACT

_TIMEOUT = 5.0
"""Seconds for the whole contract."""


def contract_url(server: str) -> str:
    """The URL of a server's contract. The URL of a contract is returned as it is."""
    return server.rstrip("/").removesuffix(CONTRACT) + CONTRACT


async def fetch_contract(session: aiohttp.ClientSession, url: str, max_body: int) -> Contract:
    """Fetch the contract at a URL.

    Args:
        session: for the request.
        url: see `contract_url`.
        max_body: bytes of the largest contract that is read.

    Raises:
        aiohttp.ClientResponseError: the server answers with an error status.
        aiohttp.ClientError: the server does not answer.
        TimeoutError: the server does not answer in time.
        ValueError: the answer is not a contract, or too large.
    """
    async with session.get(url, timeout=aiohttp.ClientTimeout(total=_TIMEOUT)) as response:
        response.raise_for_status()
        data = bytearray()
        async for part in response.content.iter_any():
            data += part
            if len(data) > max_body:
                raise ValueError(f"it is larger than {max_body} bytes")
    return decode_contract(bytes(data))


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
            contract = await fetch_contract(session, url, max_body)
        except aiohttp.ClientResponseError as error:
            reason = f"{shown}: it answers {error.status}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = f"{shown}: {why_no_answer(error)}"
        else:
            for component in contract.components:
                # Another server may have the address by now. Not every registry stores the digest.
                if component.name == instance.component and instance.digest in {"", component.digest}:
                    return component
            reason = f"{shown} is not that of this instance"
    raise ValueError(reason)
