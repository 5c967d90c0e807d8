"""Fetches contracts from the servers that serve them, at `/contract`."""

from __future__ import annotations

import os

import aiohttp

from meshcore.contract.contract import ComponentContract, Contract, decode_contract
from meshcore.core.instances import Instance
from meshcore.wire.endpoints import CONTRACT

_PATIENCE = 5.0
"""Seconds that a server has to send its contract."""


def contract_url(server: str) -> str:
    """Where the contract of a server is; of a URL that names it already, the same."""
    return server.rstrip("/").removesuffix(CONTRACT) + CONTRACT


async def fetch_contract(session: aiohttp.ClientSession, url: str, max_body: int) -> Contract:
    """The contract that is served at a URL.

    Args:
        session: to fetch it by.
        url: see `contract_url`.
        max_body: bytes of the largest that is read.

    Raises:
        aiohttp.ClientResponseError: the server answers, but with something else.
        aiohttp.ClientError: it does not answer.
        TimeoutError: the same.
        ValueError: what it answers is no contract, or too large.
    """
    async with session.get(url, timeout=aiohttp.ClientTimeout(total=_PATIENCE)) as response:
        response.raise_for_status()
        data = bytearray()
        async for part in response.content.iter_any():
            data += part
            if len(data) > max_body:
                raise ValueError(f"it is larger than {max_body} bytes")
    return decode_contract(bytes(data))


async def fetch_component(session: aiohttp.ClientSession, instance: Instance, max_body: int) -> ComponentContract:
    """The contract of the component that an instance is of, as it serves it.

    Raises:
        ValueError: it cannot be had; the text says why.
    """
    servers = dict.fromkeys(address.url for address in instance.addresses if address.url.startswith("http"))
    reason = "it has no address that could be asked for its contract"
    for url in map(contract_url, servers):
        try:
            contract = await fetch_contract(session, url, max_body)
        except aiohttp.ClientResponseError as error:
            reason = f"{url}: it answers {error.status}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = f"{url}: {reason_of(error)}"
        else:
            for component in contract.components:
                # Whoever has the address by now need not be who was announced there; not every registry has the digest.
                if component.name == instance.component and instance.digest in {"", component.digest}:
                    return component
            reason = f"{url} is not that of this instance"
    raise ValueError(reason)


def reason_of(error: Exception) -> str:
    """Why a server did not answer, in a few words: aiohttp's own repeat the address."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
