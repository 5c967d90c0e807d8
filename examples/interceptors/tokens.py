"""Tokens that are no JWTs, such as those in a table of sessions: a server looks them up and says whose they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from meshcore import AuthorizationError, Call, Code, Handler

AUTHORIZATION = "authorization"
USER = "x-user"
"""The header in which a server's implementations find who asks. A client cannot set it: `VerifyToken` does, always."""


class VerifyToken:
    """For servers: refuses calls without a valid token, and puts the user's name into the header `USER`.

    `meshcore.BearerToken` is the other side. JWTs of an issuer are verified by `meshcore.TokenVerifier`, before the
    arguments of a call are read.

    Args:
        user_of: the name that a token stands for, None if it is not valid (any more).
    """

    def __init__(self, user_of: Callable[[str], str | None]) -> None:
        self._user_of = user_of

    async def __call__(self, handler: Handler, call: Call) -> object:
        """Let the call pass if it may.

        Raises:
            AuthorizationError: UNAUTHENTICATED.
        """
        scheme, _, token = call.headers.get(AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthorizationError(Code.UNAUTHENTICATED, f"{call.method} needs a bearer token in its authorization")
        user = self._user_of(token.strip())
        if user is None:
            raise AuthorizationError(Code.UNAUTHENTICATED, "the bearer token is not valid, or not any more")
        return await handler(_with_header(call, USER, user))


def _with_header(call: Call, name: str, value: str) -> Call:
    headers: Mapping[str, str] = {**call.headers, name: value}
    return msgspec.structs.replace(call, headers=headers)
