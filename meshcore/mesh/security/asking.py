"""The TLS with which a process opens connections, and sessions for questions to instances from outside of a mesh."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

from meshcore.client.connections.sessions import open_session
from meshcore.core.errors import ConfigurationError
from meshcore.core.settings import Settings
from meshcore.mesh.security.identity import NO_IDENTITY
from meshcore.ports.channel import ChannelTLS
from meshcore.ports.identity import IdentityError
from meshcore.ports.installed import make_identity_source
from meshcore.ports.registry import ComponentRegistry

if TYPE_CHECKING:
    from meshcore.security.certificates import Certificates

_NAME = "meshcore"
"""How a command calls itself, where it has to be issued a certificate."""


@asynccontextmanager
async def client_tls(
    certificates: Certificates | None, settings: Settings, registry: ComponentRegistry | None
) -> AsyncGenerator[ChannelTLS | None]:
    """The TLS of the connections that a process opens, as long as the context lasts. None without certificates.

    Args:
        certificates: of the process.
        settings: of the mesh.
        registry: where instances are found; None if they are named one by one.
    """
    if certificates is None:
        yield None
        return
    # Without an identity, nothing that reads certificates is loaded.
    from meshcore.security.tls.client_tls import ClientTLS  # noqa: PLC0415

    tls = ClientTLS(
        certificates,
        settings.tls_minimum,
        strict=settings.mutual_tls == "strict",
        by_host=registry is None or registry.written_by_operator,
    )
    try:
        yield tls
    finally:
        tls.close()


@asynccontextmanager
async def asking(
    settings: Settings, registry: ComponentRegistry | None, *, limit: int = 100, **options: Any
) -> AsyncGenerator[aiohttp.ClientSession]:
    """A session for questions to instances, with the identity of the settings.

    Args:
        settings: of the command.
        registry: where instances are found; None if they are named one by one.
        limit: connections at the same time; 0 for any number.
        options: of `aiohttp.ClientSession`.

    Raises:
        ConfigurationError: there is no such identity source, or it gives nothing that can be used.
    """
    if settings.identity == NO_IDENTITY:
        async with open_session(None, limit=limit, **options) as session:
            yield session
        return
    from meshcore.security.certificates import Certificates  # noqa: PLC0415

    try:
        certificates = Certificates(make_identity_source(settings.identity, settings.registry), (_NAME,))
    except ValueError as error:
        raise ConfigurationError("setting identity", [str(error)]) from None
    try:
        try:
            await certificates.start()
        except IdentityError as error:
            raise ConfigurationError("setting identity", [str(error)]) from error
        async with (
            client_tls(certificates, settings, registry) as tls,
            open_session(tls, limit=limit, **options) as session,
        ):
            yield session
    finally:
        await certificates.aclose()
