"""The client's interceptor that adds a bearer token to calls, for those for whom it is meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from meshcore.core.call import Call, Handler, Interceptor
from meshcore.core.context.current_call import ambient_call
from meshcore.core.description import Method
from meshcore.core.errors import AuthorizationError, Code
from meshcore.security.tokens.passing import AUTHORIZATION, with_token
from meshcore.security.tokens.sources import FetchedToken, StaticToken, TokenSource


class BearerToken:
    """For clients: adds `authorization: Bearer ...` to calls. One that is refused is replaced, and sent once more.

    A call that has such a header already keeps it. A method with `@pass_token` gets the user's token and never this
    one, while a call is served.

    It is safe to send a call again although it may not be idempotent: who is UNAUTHENTICATED has reached no
    implementation. A call that streams to the server is not sent again.

    Args:
        source: the token; a `TokenSource`, such as `TokenFile` or `ClientCredentials`; or an async function that
            fetches a new token.
        components: the names of those for whom the token is meant. Empty: all.
        methods: patterns such as "orders.*" or "orders.place", for only some methods. Empty: all.

    Raises:
        ValueError: the token has a character that no token has.
    """

    def __init__(
        self,
        source: TokenSource | Callable[[], Awaitable[str]] | str,
        *,
        components: Sequence[str] = (),
        methods: Sequence[str] = (),
    ) -> None:
        if isinstance(components, str) or isinstance(methods, str):
            raise TypeError('components and methods are lists of names, such as ["orders"]')
        if isinstance(source, str):
            source = StaticToken(source)
        self._source = source if isinstance(source, TokenSource) else FetchedToken(source)
        self._components = frozenset(components)
        self._methods = tuple(methods)
        self._meant: dict[Method, bool] = {}

    def for_component(self, name: str) -> Interceptor | None:
        """Itself, or None for a component for which the token is not meant. The mesh asks once for each component."""
        return self if not self._components or name in self._components else None

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Send the call with the token, at most twice."""
        if AUTHORIZATION in call.headers or not self._is_meant_for(call.method):
            return await handler(call)
        token = self._source.current() or await self._source.get()
        try:
            return await handler(with_token(call, token))
        except AuthorizationError as error:
            # Another token would not be allowed to do more. And of a stream to the server, items are gone.
            if error.code is not Code.UNAUTHENTICATED or call.method.stream_at is not None:
                raise
            another = await self._source.renew(token)
            if not another:
                raise
        return await handler(with_token(call, another))

    def _is_meant_for(self, method: Method) -> bool:
        if method.passes_token and ambient_call.get() is not None:
            return False  # it would act for the user with more rights than the user has
        if not self._methods:
            return True
        meant = self._meant.get(method)
        if meant is None:
            meant = self._meant[method] = any(fnmatchcase(str(method), pattern) for pattern in self._methods)
        return meant

    def __repr__(self) -> str:
        return f"BearerToken({self._source!r}, components={sorted(self._components)}, methods={self._methods})"
