"""Chooses the URL that a server advertises, if nobody has set one: where it listens, as seen by its clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import msgspec

from meshcore.core.settings import Settings
from meshcore.ports.registry import ComponentRegistry
from meshcore.serve.hypercorn_worker import listens_at

BOUND: Final = "what is bound"
BOUND_BY_HYPERCORN: Final = "what hypercorn has bound"
ALL_INTERFACES: Final = "all interfaces are bound"
"""The sources of a URL that nobody has set. After the last comes why the address was chosen."""

_LOOPBACK: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_FAMILIES: Final = {"0.0.0.0": (socket.AF_INET,), "::": (socket.AF_INET6, socket.AF_INET)}  # noqa: S104 - only compared
_FAR_AWAY: Final = {socket.AF_INET: "8.8.8.8", socket.AF_INET6: "2001:4860:4860::8888"}
"""Any addresses beyond the default route. Nothing is sent there."""

_LONGEST_LOOKUP: Final = 2.0
"""Seconds for the address of a name. Without it the next way to choose is taken."""

LocalAddress = Callable[[socket.AddressFamily, str], Awaitable[str]]
"""The own address from which a host is reached, empty if there is none."""


def with_url(settings: Settings, scheme: str, host: str, port: int, source: str = BOUND) -> Settings:
    """The settings with the URL of what is bound. For a socket on all interfaces, `with_reachable_url` completes it."""
    if host in _FAMILIES:
        source = ALL_INTERFACES
    sources = {**settings.sources, "advertise_url": source}
    shown = f"[{host}]" if ":" in host else host
    return msgspec.structs.replace(settings, advertise_url=f"{scheme}://{shown}:{port}", sources=sources)


async def with_reachable_url(settings: Settings, registry: ComponentRegistry) -> Settings:
    """The settings with a URL that clients can use, unless somebody has set one.

    Args:
        settings: the settings. If they have a URL on all interfaces, its host is replaced.
        registry: its server is what clients reach, too; so the own address on the way to it is one that they reach.
    """
    if _source(settings) == "default" and (found := listens_at()):
        settings = with_url(settings, *found, BOUND_BY_HYPERCORN)
    if _source(settings) != ALL_INTERFACES:
        return settings
    url = urlsplit(settings.advertise_url)
    host, reason = await choose_host(url.hostname or "", registry.server_host())
    return with_url(settings, url.scheme, host, url.port or 0, f"{ALL_INTERFACES}; {host} {reason}")


async def choose_host(bound: str, server: str, local_address: LocalAddress | None = None) -> tuple[str, str]:
    """The address under which clients reach a server that listens on all interfaces, and why it was chosen.

    Args:
        bound: "0.0.0.0" or "::". The latter mostly takes connections to IPv4 addresses as well.
        server: the host of the registry's server, empty if there is none.
        local_address: finds the own address; by default from the system's routes.
    """
    local_address = local_address or _local_address
    for reason, hosts in _ways(server):
        for family in _FAMILIES[bound]:
            address = await local_address(family, hosts[family])
            if address and not (ip := ip_address(address)).is_loopback and not ip.is_link_local:
                return address, reason
    return _LOOPBACK[_FAMILIES[bound][0]], "is the only address of this machine"


def url_warnings(settings: Settings) -> Iterator[str]:
    """Warnings about a URL that nobody has set and that clients on other machines cannot reach."""
    source = _source(settings)
    nobody_set_it = source in {"default", BOUND, BOUND_BY_HYPERCORN} or source.startswith(ALL_INTERFACES)
    if nobody_set_it and _is_loopback(urlsplit(settings.advertise_url).hostname or ""):
        yield (
            f"the advertised URL {settings.advertise_url} ({source}) leads clients on other machines to themselves. "
            "Listen on all interfaces (--bind 0.0.0.0:8000), or set MESHCORE_ADVERTISE_URL (setting advertise_url) to "
            "the URL under which they reach this server"
        )


def _source(settings: Settings) -> str:
    return settings.sources.get("advertise_url", "default")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ways(server: str) -> Iterator[tuple[str, dict[socket.AddressFamily, str]]]:
    """Hosts to which this machine has a way, by address family, and what that makes of the own address."""
    both = (socket.AF_INET, socket.AF_INET6)
    if server:
        yield f"reaches the registry at {server}", dict.fromkeys(both, server)
    yield "has the default route", _FAR_AWAY
    # In a network without a way out, such as an internal one of Docker, the own name is that of an own address.
    yield "is the address of this machine's name", dict.fromkeys(both, socket.gethostname())


async def _local_address(family: socket.AddressFamily, host: str) -> str:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_LONGEST_LOOKUP):
            # Any port: nothing is sent.
            found = await loop.getaddrinfo(host, 9, family=family, type=socket.SOCK_DGRAM)
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(found[0][4])
            return str(sock.getsockname()[0]).partition("%")[0]
    except OSError:  # no such host, no route, or no answer in time
        return ""
