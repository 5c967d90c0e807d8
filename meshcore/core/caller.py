"""Who calls: an identity that was proven, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec


class Proof(StrEnum):
    """How the identity of a caller was proven."""

    NONE = "none"
    """It was not: whatever the caller says of itself is not believed."""

    PROCESS = "process"
    """The call was made in this process."""

    CERTIFICATE = "certificate"
    """The connection showed a certificate that a trusted root has issued, and has its private key (mutual TLS)."""


class Caller(msgspec.Struct, frozen=True):
    """Who makes a call. Only what was proven stands here.

    Attributes:
        identity: of the process that calls: the SPIFFE id of its certificate, or its first DNS name. Empty if nothing
            was proven, and for calls of this process.
        component: the component that the identity names; empty as above.
        proof: how that was proven.
        claims: of the token that came with the call, once it was verified. It tells of a user, not of the process.
    """

    identity: str = ""
    component: str = ""
    proof: Proof = Proof.NONE
    claims: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        """Without the values of claims, which may be personal."""
        return (
            f"Caller({self.identity!r}, component={self.component!r}, proof={self.proof}, claims={sorted(self.claims)})"
        )


ANONYMOUS = Caller()
"""Nothing was proven."""

THIS_PROCESS = Caller(proof=Proof.PROCESS)
"""The call was made in this process."""


CallerKey: TypeAlias = str | tuple[str]
"""What calls are counted by: the name that a caller says, or a tuple with the name that it has proven. So nobody is
counted as another one by saying its name."""


class Peer(msgspec.Struct, frozen=True):
    """The other end of a connection.

    Attributes:
        host: the address of the client's host, without a port; "local" for a call of this process, "unknown" if the
            ASGI server does not say.
        caller: who it has proven to be.
    """

    host: str
    caller: Caller = ANONYMOUS

    def with_claims(self, claims: Mapping[str, Any]) -> Peer:
        """The same, with the claims of a token that was verified."""
        return Peer(self.host, msgspec.structs.replace(self.caller, claims=claims))

    def name(self, said: str) -> str:
        """How the caller is called in figures and logs: by what was proven, else as it says.

        Args:
            said: how it calls itself, empty if it does not say.
        """
        return self.caller.component or said

    def key(self, said: str) -> CallerKey:
        """What the calls of the caller are counted by.

        Args:
            said: as in `name`.
        """
        component = self.caller.component
        return (component,) if component else said
