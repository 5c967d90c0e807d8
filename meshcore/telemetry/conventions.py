"""The names that telemetry uses: those of OpenTelemetry's semantic conventions for RPC, and our own beside them.

Conventions change. A name is changed here, and in the test that lists all of them.
"""

from __future__ import annotations

import sys
from typing import Final

from meshcore.core.errors import Code

SYSTEM_NAME: Final = "rpc.system.name"
SYSTEM: Final = "meshcore"

METHOD: Final = "rpc.method"
"""`service/method`, or `OTHER` for a method that is not known: its name is the caller's choice."""
METHOD_ORIGINAL: Final = "rpc.method_original"
OTHER: Final = "_OTHER"

STATUS_CODE: Final = "rpc.response.status_code"
OK: Final = "ok"
"""The status of a call that succeeded; of others it is the value of `Code`. OpenTelemetry has merged the shorter name
`rpc.status_code`, which no release has yet."""

CANCELED: Final = Code.CANCELED.value
"""The status of a call whose caller gave it up."""

SERVER_FAULTS: Final = frozenset(
    code.value
    for code in (
        *(Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS),
    )
)
"""The statuses that are failures of a server. Of others its caller is the reason: the conventions for gRPC say so."""

ERROR_TYPE: Final = "error.type"
"""The code of a mesh error, the class of any other exception."""

SERVER_ADDRESS: Final = "server.address"
"""The component that is called; on spans of clients only."""

PEER_ADDRESS: Final = "network.peer.address"
PEER_PORT: Final = "network.peer.port"
"""On a client: of the instance that was asked last. On a server: of the caller."""

CHANNEL: Final = "meshcore.channel"
INSTANCE: Final = "meshcore.instance"
ATTEMPT: Final = "meshcore.attempt"
"""Which attempt of its call it is, 1 for the first."""
ATTEMPT_KIND: Final = "meshcore.attempt.kind"
FIRST: Final = "first"
RETRY: Final = "retry"
HEDGE: Final = "hedge"
ATTEMPT_OUTCOME: Final = "meshcore.attempt.outcome"
"""As `Attempt.outcome`."""
ATTEMPTS: Final = "meshcore.attempts"
"""How many attempts a call took."""
CONNECTING: Final = "meshcore.attempt.connecting"
"""Seconds until there was a connection, if one had to be made."""

SCOPE: Final = "meshcore"
"""The name of the instrumentation."""

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.38.0"


def method_name(service: str, method: str) -> str:
    """The value of `rpc.method`, which is also the name of the spans of a call. One object, for all its series."""
    return sys.intern(f"{service}/{method}")


def attempt_name(method: str) -> str:
    """The name of the span of an attempt.

    Args:
        method: as `method_name` returns it.
    """
    return f"{method} attempt"
