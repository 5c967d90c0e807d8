"""The header of a bearer token, and how a user's token goes on to those methods that say so."""

from __future__ import annotations

from typing import Any

import msgspec

from meshcore.core.call import Call, Handler
from meshcore.core.context.current_call import ambient_call

AUTHORIZATION = "authorization"


def with_token(call: Call, token: str) -> Call:
    """The same call with a bearer token."""
    return msgspec.structs.replace(call, headers={**call.headers, AUTHORIZATION: f"Bearer {token}"})


async def pass_user_token(handler: Handler, call: Call) -> Any:
    """For clients: adds the token of the call that is served to calls of methods with `@pass_token`. Never to others.

    Within the process the verified claims go with it.
    """
    if not call.method.passes_token or (found := ambient_call.get()) is None:
        return await handler(call)
    served = found[0]
    token = bearer_of(served.headers.get(AUTHORIZATION, ""))
    if not token or AUTHORIZATION in call.headers:
        return await handler(call)
    caller = msgspec.structs.replace(call.caller, claims=served.caller.claims)
    return await handler(msgspec.structs.replace(with_token(call, token), caller=caller))


def bearer_of(header: str) -> str:
    """The token in a header `authorization`, empty if it has none."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
