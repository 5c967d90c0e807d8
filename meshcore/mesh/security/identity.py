"""The certificates of a mesh, if there is a source of them: from its setting `identity`, or an override."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from meshcore.core.errors import ConfigurationError
from meshcore.core.settings import Settings
from meshcore.mesh.catalog import Catalog
from meshcore.ports.identity import IdentityError, IdentitySource
from meshcore.ports.installed import make_identity_source

if TYPE_CHECKING:
    from meshcore.security.certificates import Certificates

log = logging.getLogger(__name__)

NO_IDENTITY: Final = "none"
"""The setting `identity` of a mesh without TLS of its own."""


def identity_source(settings: Settings, overrides: Mapping[type, object], problems: list[str]) -> IdentitySource | None:
    """The identity source of the overrides, else that of the settings; None if there is none.

    Args:
        settings: of the mesh.
        overrides: of the mesh.
        problems: gets what is wrong with it.
    """
    if IdentitySource in overrides:
        source = overrides[IdentitySource]
        if isinstance(source, IdentitySource):
            return source
        problems.append(f"the override of IdentitySource has to be an object that is one, got {source!r}")
    elif settings.identity != NO_IDENTITY:
        try:
            return make_identity_source(settings.identity, settings.registry)
        except ValueError as error:
            problems.append(f"setting identity: {error}")
    return None


def served_names(catalog: Catalog) -> tuple[str, ...]:
    """The components that a process serves."""
    return tuple(hosted.component.name for hosted in catalog.hosted)


def own_names(module: type, catalog: Catalog) -> tuple[str, ...]:
    """The names for which a process needs certificates: the components that it serves, else that of its module."""
    return served_names(catalog) or (module.__name__,)


@asynccontextmanager
async def certificates_of(
    source: IdentitySource | None, module: type, catalog: Catalog
) -> AsyncGenerator[Certificates | None]:
    """Get the first certificates, and follow their changes as long as the context lasts. None without a source.

    Raises:
        ConfigurationError: there are none that can be used.
    """
    if source is None:
        yield None
        return
    # Without an identity, nothing that reads certificates is loaded.
    from meshcore.security.certificates import Certificates, unproven  # noqa: PLC0415

    certificates = Certificates(source, own_names(module, catalog))
    try:
        try:
            await certificates.start()
        except IdentityError as error:
            raise ConfigurationError(f"{module.__name__} cannot start", [f"setting identity: {error}"]) from error
        for text in unproven(served_names(catalog), certificates.all):
            log.warning("%s", text)
        yield certificates
    finally:
        await certificates.aclose()
