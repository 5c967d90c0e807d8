"""The guard of a server that verifies tokens: it puts the claims where the call finds them."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol, Self

from meshcore.core.caller import Peer
from meshcore.core.description import Method
from meshcore.core.errors import ConfigurationError
from meshcore.security.tokens.passing import AUTHORIZATION
from meshcore.security.tokens.verifier import TokenVerifier


class Asking(Protocol):
    """A request whose token is verified.

    Attributes:
        peer: the client. It is replaced by one whose caller has the claims of the token.
    """

    peer: Peer

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the request."""
        ...


class TokenGuard:
    """Verifies the tokens of requests. It fits `server.Guard`, and a guard that judges callers asks it first.

    Args:
        verifier: verifies tokens.
    """

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    @classmethod
    def of(cls, verifiers: Sequence[TokenVerifier]) -> Self | None:
        """The guard of a mesh, None if its modules have no verifier.

        Raises:
            ConfigurationError: they have several.
        """
        if len(verifiers) > 1:
            problem = f"{len(verifiers)} modules have a TokenVerifier: leave one, or give it all audiences"
            raise ConfigurationError("The tokens of calls cannot be verified", [problem])
        return cls(verifiers[0]) if verifiers else None

    async def aclose(self) -> None:
        """Stop what the verifier fetches."""
        await self._verifier.aclose()

    def __call__(self, request: Asking, method: Method | None = None) -> Awaitable[None] | None:
        """Set the claims of a request. Returns None if its token is known, else what to await.

        Raises:
            AuthorizationError: UNAUTHENTICATED, not processed: the token is missing or not valid. What is awaited
                raises it, and UNAVAILABLE if the keys of the issuer cannot be had.
        """
        header = request.headers.get(AUTHORIZATION, "")
        claims = self._verifier.cached(header)
        if claims is None:
            return self._verify(request, header, "" if method is None else str(method))
        if claims:
            request.peer = request.peer.with_claims(claims)
        return None

    async def _verify(self, request: Asking, header: str, called: str) -> None:
        peer = request.peer
        claims = await self._verifier.verify(header, peer.name(peer.host), called)
        if claims:
            request.peer = peer.with_claims(claims)
