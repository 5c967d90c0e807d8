"""Verifiers of tokens for tests, and what they say of those that they refuse."""

from __future__ import annotations

import pytest

from meshcore import AuthorizationError, Code, TokenVerifier
from tests.support.issuer import AUDIENCE, ISSUER

LOGGER = "meshcore.security.tokens.verifier"


def verifier(jwks, **more) -> TokenVerifier:
    """With what is usual."""
    usual = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["ES256", "RS256", "EdDSA"]}
    return TokenVerifier(jwks, **{**usual, **more})


async def verify(made: TokenVerifier, token: str):
    """The claims of a token."""
    header = f"Bearer {token}"
    found = made.cached(header)
    return await made.verify(header, "gate", "shop.buy") if found is None else found


async def refused(made: TokenVerifier, token: str, caplog) -> str:
    """The reason in the log. What the caller is told is always the same, and nothing shows the token."""
    caplog.clear()
    with pytest.raises(AuthorizationError) as wrong:
        await verify(made, token)
    assert str(wrong.value) == "unauthenticated: the call needs a valid bearer token"
    assert (wrong.value.code, wrong.value.processed, wrong.value.retryable) == (Code.UNAUTHENTICATED, False, False)
    (line,) = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert line.startswith("refused shop.buy of gate: ")
    assert all(len(each) < 20 or each not in line for each in token.split("."))
    return line.removeprefix("refused shop.buy of gate: ")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
