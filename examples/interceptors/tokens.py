"""Bearer tokens: clients send one, and get a new one when it is refused; servers check it and say who it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from meshcore import AuthorizationError, Call, Code, Handler

AUTHORIZATION = "authorization"
USER = "x-user"
"""The header in which a server's implementations find who asks. A client cannot set it: `VerifyToken` does, always."""


class BearerToken:
    """For clients: adds a token to each call. One that is refused is replaced, and the call sent once more.

    However many calls are refused at once, one token is fetched, and all of them wait for it. It is safe to send the
    call again although it may not be idempotent: who is UNAUTHENTICATED has reached no implementation.

    Args:
        fetch: gets a new token, from wherever tokens come.
    """

    def __init__(self, fetch: Callable[[], Awaitable[str]]) -> None:
        self._fetch = fetch
        self._token = ""
        self._lock = asyncio.Lock()
        self._fetched = 0
        self._failure: Exception | None = None

    async def __call__(self, handler: Handler, call: Call) -> object:
        """Send the call with the token, at most twice."""
        token = self._token or await self._replace("")
        try:
            return await handler(_with_header(call, AUTHORIZATION, f"Bearer {token}"))
        except AuthorizationError as error:
            if error.code is not Code.UNAUTHENTICATED:  # another token would not be allowed to do it, either
                raise
        token = await self._replace(token)
        return await handler(_with_header(call, AUTHORIZATION, f"Bearer {token}"))

    async def _replace(self, refused: str) -> str:
        """Another token than the one that was refused."""
        if self._token != refused:  # somebody has replaced it while this call was on its way
            return self._token
        before = self._fetched
        # A lock, not a shared task: if the caller who fetches is cancelled, the next one takes over.
        async with self._lock:
            if self._fetched == before:
                try:
                    self._token, self._failure = await self._fetch(), None
                except Exception as error:  # noqa: BLE001 - whatever it is, it is the same for all who wait
                    self._failure = error
                self._fetched += 1
            if self._failure is not None:
                raise self._failure
            return self._token


class VerifyToken:
    """For servers: refuses calls without a valid token, and puts the user's name into the header `USER`.

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
