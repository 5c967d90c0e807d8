"""The TLS of a mesh that is served."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from meshcore.asgi.access.admission import Admission
from meshcore.asgi.application import MeshAsgi
from meshcore.asgi.messages import Application, Scope
from meshcore.core.errors import ConfigurationError
from meshcore.core.masking import without_secrets
from meshcore.core.settings import Settings
from meshcore.security.certificates import Certificates
from meshcore.serve.hypercorn_worker import has_mesh_tls

if TYPE_CHECKING:
    from meshcore.security.tls.server_tls import ServerTLS

log = logging.getLogger(__name__)

HYPERCORN_OPTION: Final = "--config python:meshcore.serve.tls.hypercorn"
_STRICT: Final = "strict"

_running: list[ServerTLS] = []
"""Of the meshes that this process serves, newest last. An ASGI server that was started by its own command line makes
its context without knowing the application."""


def running_tls() -> ServerTLS | None:
    """The TLS of the mesh that this process serves, None as long as it serves none."""
    return _running[-1] if _running else None


@contextmanager
def served_tls(certificates: Certificates | None, settings: Settings) -> Generator[ServerTLS | None]:
    """The TLS of a mesh, as long as the context lasts; None without an identity.

    Raises:
        ConfigurationError: hypercorn serves this application, and would not serve what the setting `identity` says; or
            there is no certificate to serve with.
    """
    _check_hypercorn(settings, identity=certificates is not None)
    if certificates is None:
        yield None
        return
    if not all(each.key for each in certificates.all):
        problem = (
            f"setting identity: {without_secrets(settings.identity)} has roots alone, which are enough to call others; "
            "a server needs a certificate with its key as well"
        )
        raise ConfigurationError("cannot serve TLS", [problem])
    # Without an identity, cryptography is not loaded.
    from meshcore.security.tls.server_tls import ServerTLS  # noqa: PLC0415

    tls = ServerTLS(certificates, minimum=settings.tls_minimum)
    try:
        tls.start()
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError("cannot serve TLS", [f"the certificates cannot be used: {error}"]) from error
    _running.append(tls)
    try:
        yield tls
    finally:
        _running.remove(tls)
        tls.close()


def is_strict(settings: Settings, tls: ServerTLS | None) -> bool:
    """Whether only clients with a proven identity are served."""
    return tls is not None and settings.mutual_tls == _STRICT


def admitting(asgi: MeshAsgi, settings: Settings, tls: ServerTLS | None) -> Callable[[Scope], Application]:
    """Finds the endpoint of a request, behind what TLS demands of its connection."""
    if tls is None:
        return asgi.endpoint
    if settings.unix_socket and is_strict(settings, tls):
        log.warning(
            "at the unix socket %s only probes are answered: its clients prove no identity (setting mutual_tls)",
            settings.unix_socket,
        )
    return Admission(asgi.endpoint, asgi.open_paths, strict=is_strict(settings, tls)).endpoint


def _check_hypercorn(settings: Settings, *, identity: bool) -> None:
    found = has_mesh_tls()
    if found is None or found == identity:
        return
    if found:
        problem = (
            f"hypercorn was started with {HYPERCORN_OPTION}, but the setting identity is none: there is no certificate"
        )
        raise ConfigurationError("cannot serve TLS", [problem])
    text = f"the setting identity is {settings.identity}, but hypercorn serves without its TLS: add {HYPERCORN_OPTION}"
    if settings.mutual_tls == _STRICT:
        raise ConfigurationError("cannot serve TLS", [text])
    log.warning(text)
