"""For the command line of hypercorn: `hypercorn meshcore.app:app --config python:meshcore.serve.tls.hypercorn`.

hypercorn takes the names of this module for its options. A configuration of your own, `--config python:yours`, imports
them: `from meshcore.serve.tls.hypercorn import certfile, create_ssl_context, keyfile, ssl_handshake_timeout`.
"""

from __future__ import annotations

import ssl

from meshcore.security.tls.server_tls import HANDSHAKE_TIMEOUT, server_context
from meshcore.serve.tls.serving import running_tls

certfile = keyfile = "the identity of the mesh"
"""hypercorn wants two files to be named for TLS. It reads them only in the method that is replaced here."""

ssl_handshake_timeout = HANDSHAKE_TIMEOUT


def create_ssl_context() -> ssl.SSLContext:
    """The context of hypercorn's sockets. It has no certificates itself, so it can be made before the mesh runs."""
    return server_context(running_tls)
