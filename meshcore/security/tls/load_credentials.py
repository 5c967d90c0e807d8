"""Gives credentials that are in memory to a TLS context. The module `ssl` reads a key from files only."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from meshcore.ports.identity import Credentials


def load_credentials(context: ssl.SSLContext, credentials: Credentials) -> None:
    """Load certificate and key.

    Raises:
        ssl.SSLError: they do not fit each other, or are no PEM.
    """
    with _private_file(credentials.chain + b"\n" + credentials.key) as path:
        context.load_cert_chain(path)


@contextmanager
def _private_file(data: bytes) -> Generator[str]:
    """A file that only this user can read, for the time of the block; in memory where the system can."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("meshcore-credentials", os.MFD_CLOEXEC)
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile(prefix="meshcore-") as file:  # its mode is 0600
        file.write(data)
        file.flush()
        yield file.name
