"""Who may read the endpoints of operators where calls need a token."""

from __future__ import annotations

from typing import Any

import pytest

from meshcore import AuthorizationError, Code
from meshcore.core.caller import ANONYMOUS, Caller, Peer, Proof
from meshcore.security.authorization.guard import Authorization, Mode
from meshcore.security.authorization.operators import Operators
from meshcore.wire.headers import RequestHeaders

OWN = Caller("spiffe://dev.mesh/svc/depot", "depot", Proof.CERTIFICATE)
OTHER = Caller("spiffe://dev.mesh/svc/shop", "shop", Proof.CERTIFICATE)


class Asked:
    """A request."""

    def __init__(self, caller: Caller, token: str) -> None:
        self.peer = Peer("10.0.0.7", caller)
        self.headers = RequestHeaders([(b"authorization", token.encode())] if token else [])


def needs_token(request: Any, asked: Any) -> None:
    """As a verifier whose tokens are required does."""
    if request.headers.get("authorization") != "Bearer good":
        raise AuthorizationError(Code.UNAUTHENTICATED, "the call needs a valid bearer token", processed=False)


async def read(path: str, caller: Caller, token: str = "") -> Code | None:
    """The code with which it is refused, None if it is not."""
    authorization = Authorization({}, (), Mode.ENFORCE, lambda *_: None)
    authorization.verify = needs_token
    operators = Operators(["depot"], authorization, "closed")
    try:
        await operators.admit(Asked(caller, token), path, contract=path == "/contract")
    except AuthorizationError as error:
        return error.code
    return None


async def test_who_has_no_token_is_judged_by_the_certificate() -> None:
    """Instances ask each other, and clients compare contracts, without the token of a user."""
    assert await read("/report/summary", OWN) is None
    assert await read("/contract", OTHER) is None
    assert await read("/report/summary", OTHER) is Code.PERMISSION_DENIED
    assert await read("/report/summary", ANONYMOUS) is Code.UNAUTHENTICATED


@pytest.mark.parametrize("path", ["/report/summary", "/contract"])
async def test_a_token_that_is_not_valid_is_refused(path: str) -> None:
    """Whoever sends it."""
    assert await read(path, OWN, "Bearer bad") is Code.UNAUTHENTICATED
    assert await read(path, OWN, "Bearer good") is None
